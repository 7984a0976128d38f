"""The limit of everything under `/api/` that has none of its own: one call of Redis, before each request."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property

import structlog
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from redis import Redis
from redis.exceptions import RedisError

from autostack.web.counters import COUNT

log = structlog.stdlib.get_logger(__name__)

# A Redis that failed is not asked again for so long: each request would wait for it.
AWAY_S = 5.0


@dataclass(frozen=True)
class Counted:
    """What counting a request has told."""

    limit: RateLimitItem
    count: int
    # Until counting begins anew, in whole seconds.
    left_s: int
    # What stood at the other key that was asked for, unless Redis is away.
    other: bytes | None = None

    @property
    def is_exceeded(self) -> bool:
        return self.count > self.limit.amount

    @property
    def remaining(self) -> int:
        return max(self.limit.amount - self.count, 0)


class ApiLimit:
    """Counts the API's callers against one limit: in Redis, or in this process's own memory while that is away."""

    def __init__(self, redis: Redis, limit: str) -> None:
        self._limit = parse(limit)
        self._window_s = self._limit.get_expiry()
        self._count_in_redis = redis.register_script(COUNT)
        self._away_until = 0.0

    def count(self, caller: str, *other: str) -> Counted:
        """Count a request for a caller, and read another key by the way, if one is given."""
        if time.monotonic() >= self._away_until:
            try:
                keys = [f"autostack:limit:api:{caller}", *other]
                count, left_ms, *found = self._count_in_redis(keys, [self._window_s, 1])
                return Counted(self._limit, int(count), math.ceil(int(left_ms) / 1000), *found)
            except RedisError as error:
                self._away_until = time.monotonic() + AWAY_S
                log.warning("the API's calls are counted in memory", error=str(error))
        count, end = self._memory.incr(caller, self._window_s), self._memory.get_expiry(caller)
        return Counted(self._limit, count, max(math.ceil(end - time.time()), 0))

    @cached_property
    def _memory(self) -> MemoryStorage:
        # Only now: it starts a thread.
        return MemoryStorage()
