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


class BoundedCache(Generic[K, V]):
    """Values with a cost each; those longest unused leave when the sum passes `max_cost`."""

    def __init__(self, max_cost: int) -> None:
        self.max_cost = max_cost
        self.cost = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, cost: int) -> None:
        """Keep a value. One that costs more than there is room takes all of it."""
        self.discard(key)
        cost = min(cost, self.max_cost)
        self._entries[key] = (value, cost)
        self.cost += cost
        while self.cost > self.max_cost:
            _, (_, freed) = self._entries.popitem(last=False)
            self.cost -= freed

    def discard(self, key: K) -> None:
        _, freed = self._entries.pop(key, (None, 0))
        self.cost -= freed

    def values(self) -> list[V]:
        return [value for value, _ in self._entries.values()]


class SingleFlight(Generic[K, V]):
    """Lets all who want the same thing at the same time wait for one to fetch it, `timeout_s` at most.

    Those who come while the store stalls join the same read; without an end of its own, it would outlast the stall.
    """

    def __init__(self, timeout_s: float = 5) -> None:
        self._timeout_s = timeout_s
        self._flights: dict[K, asyncio.Task[V]] = {}

    async def run(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        """Return what `fetch` returns, or raise what it raises; joins one that is under way for this key."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._fetch(fetch))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        # A visitor who leaves takes nothing from those who wait on.
        return await asyncio.shield(flight)

    async def _fetch(self, fetch: Callable[[], Awaitable[V]]) -> V:
        async with asyncio.timeout(self._timeout_s):
            return await fetch()

    def _land(self, key: K, flight: asyncio.Task[V]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            # Marks the error as seen, if every visitor has left meanwhile.
            flight.exception()
