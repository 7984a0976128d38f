"""Memory with a bound, and reads that many share. Blobs and manifests never change, so nothing here goes stale."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sized
from functools import lru_cache, wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar, cast

A = TypeVar("A", bound=Sized | None)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")

# What browsers send is shorter.
MAX_REMEMBERED_LENGTH = 256
MAX_USES = 3
# Names of values that left, remembered beside as many as there are values.
FEW = 100
NOT_THERE = object()


def remembered(count: int) -> Callable[[Callable[Concatenate[A, P], V]], Callable[Concatenate[A, P], V]]:
    """Remember up to `count` results of a function on what a visitor sent, its first argument, where that is short.

    A visitor can send as many different headers as he likes: long ones would fill the memory.
    """

    def decorate(function: Callable[Concatenate[A, P], V]) -> Callable[Concatenate[A, P], V]:
        memory = cast(Callable[Concatenate[A, P], V], lru_cache(maxsize=count)(function))

        @wraps(function)
        def look_up(sent: A, /, *args: P.args, **kwargs: P.kwargs) -> V:
            is_short = sent is None or len(sent) <= MAX_REMEMBERED_LENGTH
            return (memory if is_short else function)(sent, *args, **kwargs)

        return look_up

    return decorate


class _Entry(Generic[V]):
    """A value, what it costs, and how often it was asked for lately (up to 3)."""

    __slots__ = ("cost", "uses", "value")

    def __init__(self, value: V, cost: int) -> None:
        self.value = value
        self.cost = cost
        self.uses = 0


class BoundedCache(Generic[K, V]):
    """Values with a cost each; when the sum passes `max_cost`, those leave that were asked for least (S3-FIFO).

    Newcomers queue in a tenth of the room. Who is asked for there moves to the rest, where a value stays as long as it
    is asked for; who is not leaves soon, and only its name is kept for a while: if it comes again, it skips the queue.
    So a thousand pages that are asked for once don't drive out the one that all ask for, and a hit moves nothing.
    (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.)
    """

    def __init__(self, max_cost: int) -> None:
        self.max_cost = max_cost
        self.cost = 0
        self._entries: dict[K, _Entry[V]] = {}
        self._newcomers: OrderedDict[K, None] = OrderedDict()
        self._newcomers_cost = 0
        self._settled: OrderedDict[K, None] = OrderedDict()
        self._left: OrderedDict[K, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.uses < MAX_USES:
            entry.uses += 1
        return entry.value

    def put(self, key: K, value: V, cost: int) -> None:
        """Keep a value. One that costs more than there is room takes all of it."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._enter(key, value)
        cost = min(cost, self.max_cost)
        self.cost += cost - entry.cost
        if key in self._newcomers:
            self._newcomers_cost += cost - entry.cost
        entry.value, entry.cost = value, cost
        while self.cost > self.max_cost:
            self._make_room(key)

    def discard(self, key: K) -> None:
        if key in self._entries:
            self._newcomers.pop(key, None)
            self._drop(key, was_new=self._settled.pop(key, NOT_THERE) is NOT_THERE)

    def values(self) -> list[V]:
        return [entry.value for entry in self._entries.values()]

    def _enter(self, key: K, value: V) -> _Entry[V]:
        entry = self._entries[key] = _Entry(value, 0)
        queue = self._settled if self._left.pop(key, NOT_THERE) is None else self._newcomers
        queue[key] = None
        return entry

    def _make_room(self, newest: K) -> None:
        """Have one value leave, or get nearer to it; never the newest."""
        if self._newcomers and (self._newcomers_cost > self.max_cost // 10 or not self._settled):
            key, _ = self._newcomers.popitem(last=False)
            entry = self._entries[key]
            if entry.uses or key == newest:
                self._newcomers_cost -= entry.cost
                self._settled[key] = None
                entry.uses = 0
            else:
                self._drop(key, was_new=True)
                self._remember(key)
            return
        key, _ = self._settled.popitem(last=False)
        entry = self._entries[key]
        if entry.uses or key == newest:
            entry.uses = max(entry.uses - 1, 0)
            self._settled[key] = None
        else:
            self._drop(key, was_new=False)

    def _drop(self, key: K, was_new: bool) -> None:
        entry = self._entries.pop(key)
        self.cost -= entry.cost
        if was_new:
            self._newcomers_cost -= entry.cost

    def _remember(self, key: K) -> None:
        self._left[key] = None
        while len(self._left) > len(self._entries) + FEW:
            self._left.popitem(last=False)


class Recent(Generic[K, V]):
    """Values that were asked for lately, up to a cost in all, and to look one up costs what it costs in a dict.

    They live in two generations: when the younger one has half of what is allowed, it becomes the elder, and what was
    not asked for since then is gone.
    """

    def __init__(self, max_cost: int) -> None:
        self._max_young = max_cost // 2
        self._cost = 0
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}

    def get(self, key: K) -> V | None:
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self.put(key, *entry)
        return entry[0]

    def put(self, key: K, value: V, cost: int = 1) -> None:
        """Keep a value for a while."""
        self._young[key] = (value, cost)
        self._cost += cost
        if self._cost > self._max_young:
            self._old, self._young, self._cost = self._young, {}, 0


class SingleFlight(Generic[K, V]):
    """Lets all who want the same thing at the same time wait for one to fetch it, `timeout_s` at most.

    Those who come while the store stalls join the same read; without an end of its own, it would outlast the stall.
    """

    def __init__(self, timeout_s: float = 5) -> None:
        self._timeout_s = timeout_s
        self._flights: dict[K, asyncio.Task[V]] = {}

    def __contains__(self, key: K) -> bool:
        """Tell whether somebody fetches it just now."""
        return key in self._flights

    async def run(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        """Return what `fetch` returns, or raise what it raises; joins one that is under way for this key."""
        # A visitor who leaves takes nothing from those who wait on.
        return await asyncio.shield(self.begin(key, fetch))

    def begin(self, key: K, fetch: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        """Have it fetched, unless that is under way, for those who come before it is there."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._fetch(fetch))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return flight

    async def _fetch(self, fetch: Callable[[], Awaitable[V]]) -> V:
        async with asyncio.timeout(self._timeout_s):
            return await fetch()

    def _land(self, key: K, flight: asyncio.Task[V]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            # Marks the error as seen, if every visitor has left meanwhile.
            flight.exception()
