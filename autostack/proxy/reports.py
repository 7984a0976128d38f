"""Every few seconds, what was counted goes out, and the list of the sites that have used up their traffic comes in.

Batches go to Redis; while it is away, to the store; while both are, they wait here. Where they become too many, the
oldest ones first lose their names, paths and referrers, and only then give way. A visitor waits for none of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
from collections import deque
from collections.abc import Awaitable, Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from autostack.proxy.counts import SALT_BYTES, Counts
from autostack.proxy.limits import Limits
from autostack.settings import Settings
from autostack.sites import keys, traffic
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.store import Store
from autostack.sites.traffic import Batch, TrafficInvalid

log = structlog.get_logger(__name__)

REDIS_TIMEOUT_S = 2.0
LAST_REPORT_TIMEOUT_S = 5.0
MAX_WAITING_BYTES = 16_000_000


class _Waiting:
    """A batch as it is sent, and its sums alone for when there is no room for more."""

    def __init__(self, batch: Batch) -> None:
        self.id = batch.id
        self.data = batch.to_json()
        self._sums = batch.without_names().to_json()

    @property
    def size(self) -> int:
        return len(self.data) + len(self._sums)

    def drop_names(self) -> None:
        """Keep the sums and the visitors only."""
        if self._sums:
            self.data, self._sums = self._sums, b""


class Reporter:
    """Reports what one process counted. For one event loop."""

    def __init__(self, counts: Counts, limits: Limits, store: Store, settings: Settings) -> None:
        self._counts = counts
        self._limits = limits
        self._store = store
        self._interval_s = settings.traffic_interval_s
        self._redis = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
        )
        self._waiting: deque[_Waiting] = deque()
        self._salted_on: dt.date | None = None
        self._is_heard = True

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await _outlived(self._take_the_days_salt)
            await _outlived(self._learn_limits)
            await asyncio.sleep(self._interval_s)
            await _outlived(self.report)

    async def stop(self) -> None:
        """Report for the last time. Never raises: what ends has nobody to tell, and ends all the same."""
        await _outlived(self._report_in_time)
        # A server that is gone, or broke off in mid-answer, closes itself.
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _report_in_time(self) -> None:
        try:
            async with asyncio.timeout(LAST_REPORT_TIMEOUT_S):
                await self.report()
        finally:
            if self._waiting:
                log.warning("the last counts are lost", batches=len(self._waiting))

    async def report(self) -> None:
        """Send what was counted, and what could not be sent before."""
        self._waiting += [_Waiting(batch) for batch in self._counts.take()]
        try:
            while self._waiting and await self._sent(self._waiting[0]):
                self._waiting.popleft()
        finally:
            self._make_room()
        if self._is_heard != (is_heard := not self._waiting):
            self._is_heard = is_heard
            log.warning("counts are sent again" if is_heard else "counts wait: neither Redis nor the store takes them")

    async def _sent(self, waiting: _Waiting) -> bool:
        return await self._pushed(waiting.data) or await self._stored(waiting.id, waiting.data)

    def _make_room(self) -> None:
        """Keep to MAX_WAITING_BYTES. Sums make a bill, names only a list."""
        size = sum(waiting.size for waiting in self._waiting)
        for waiting in self._waiting:
            if size <= MAX_WAITING_BYTES:
                return
            size -= waiting.size
            waiting.drop_names()
            size += waiting.size
        while size > MAX_WAITING_BYTES:
            size -= self._waiting.popleft().size

    async def _pushed(self, data: bytes) -> bool:
        try:
            if await self._redis.llen(traffic.LIST) >= traffic.MAX_LISTED:
                return False
            await self._redis.rpush(traffic.LIST, data)
        except (RedisError, OSError):
            # It may have been taken: a batch that arrives twice is counted once.
            return False
        return True

    async def _stored(self, id: str, data: bytes) -> bool:
        try:
            await asyncio.to_thread(self._store.put, keys.traffic_batch(id), data)
        except StoreUnavailable:
            return False
        return True

    async def _take_the_days_salt(self) -> None:
        """Count today's visitors with the salt that all proxies have; with one of our own until the store has said it.

        Those who come before and after are counted twice then, which is better than not at all.
        """
        today = dt.datetime.now(dt.UTC).date()
        if self._salted_on == today:
            return
        try:
            self._counts.salt = await asyncio.to_thread(self._shared_salt, today)
            self._salted_on = today
        except StoreUnavailable:
            log.warning("no salt yet for today's visitors")

    def _shared_salt(self, day: dt.date) -> bytes:
        key = keys.traffic_salt(day)
        self._store.swap(key, os.urandom(SALT_BYTES), None)
        return self._store.get(key)[:SALT_BYTES]

    async def _learn_limits(self) -> None:
        try:
            self._limits.take(traffic.limits_from_json(await self._store.get_async(keys.TRAFFIC_LIMITS)))
        except ObjectNotFound:
            self._limits.take({})
        except (StoreUnavailable, TrafficInvalid) as error:
            log.warning("limits not read", error=error.message)


async def _outlived(step: Callable[[], Awaitable[None]]) -> None:
    try:
        await step()
    except TimeoutError:
        log.warning("a step of a report took too long")
    except Exception:
        # The task's outermost edge: nobody would see that it ended, and all counting with it.
        log.exception("a step of a report failed")
