"""The limiter's counters in Redis: counted and read in one call, where the library's own storage takes three.

Who names a second key hears what stands there with the count.
"""

from __future__ import annotations

import math
import time
from typing import cast

from flask import g
from limits.storage import RedisStorage

SCHEME = "autostack"
# A counter without an end would hold its caller off for ever.
COUNT = b"""
local count = redis.call("INCRBY", KEYS[1], ARGV[2])
local left_ms = redis.call("PTTL", KEYS[1])
if left_ms < 0 then
  left_ms = ARGV[1] * 1000
  redis.call("PEXPIRE", KEYS[1], left_ms)
end
return {count, left_ms, KEYS[2] and redis.call("GET", KEYS[2])}
"""


class Counters(RedisStorage):
    """Remembers for the rest of a request what counting it has told: the count, and when it begins anew."""

    STORAGE_SCHEME = [SCHEME]  # noqa: RUF012 - the library's

    def initialize_storage(self, uri: str) -> None:
        super().initialize_storage(uri)
        self._count = self.get_connection().register_script(COUNT)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        count, left_ms, *_ = self._count([self.prefixed_key(key)], [expiry, amount])
        _counted()[key] = int(count), time.time() + int(left_ms) / 1000
        return int(count)

    def get(self, key: str) -> int:
        known = _counted().get(key)
        return super().get(key) if known is None else known[0]

    def get_expiry(self, key: str) -> int:
        known = _counted().get(key)
        return int(super().get_expiry(key)) if known is None else math.ceil(known[1])


def _counted() -> dict[str, tuple[int, float]]:
    """Return what this request's counters have told, by their keys."""
    return cast(dict[str, tuple[int, float]], g.setdefault("rate_limit_counters", {}))
