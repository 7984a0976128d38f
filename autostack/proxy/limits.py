"""What is done with sites that have used up their traffic: nothing more, or no more than so much a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from autostack.sites.traffic import Limit

# A site that gave many long answers at once comes back after so long, whatever they cost.
MAX_DEBT_S = 10
MIN_WAIT_S = 0.01


class Limits:
    """The limited projects, by id. Mostly there are none: a request asks `is_any` first.

    A throttled project has a bucket of bytes, which a second fills with `throttle_bytes`. What was written is taken out
    of it, so that it may go below zero: then nobody is answered, and no answer goes on, until it is full enough, which
    takes no longer than MAX_DEBT_S.
    """

    def __init__(self, throttle_bytes: int) -> None:
        self.is_any = False
        self._throttle_bytes = throttle_bytes
        self._limits: Mapping[str, Limit] = {}
        # What is left, and when that was, on the monotonic clock.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, limits: Mapping[str, Limit]) -> None:
        """Take note of which projects are limited from now on."""
        self._limits = limits
        self._buckets = {id: bucket for id, bucket in self._buckets.items() if limits.get(id) is Limit.THROTTLE}
        self.is_any = bool(limits)

    def refusal(self, project_id: str) -> int | None:
        """Return the status that a request is refused with, None if it may be answered."""
        limit = self._limits.get(project_id)
        if limit is Limit.STOP:
            return 402
        return 429 if limit is Limit.THROTTLE and self._left(project_id) <= 0 else None

    def spend(self, project_id: str, size: int) -> None:
        """Take an answer's bytes out of the project's bucket, if it has one."""
        if self._limits.get(project_id) is Limit.THROTTLE:
            left = max(self._left(project_id) - size, -MAX_DEBT_S * self._throttle_bytes)
            self._buckets[project_id] = (left, time.monotonic())

    async def turn(self, project_id: str) -> None:
        """Wait until an answer may go on. Whoever waited spends before others look."""
        while self._limits.get(project_id) is Limit.THROTTLE and (left := self._left(project_id)) <= 0:  # noqa: ASYNC110 - nothing happens when a bucket is full enough
            await asyncio.sleep(MIN_WAIT_S - left / self._throttle_bytes)

    def _left(self, project_id: str) -> float:
        left, since = self._buckets.get(project_id, (self._throttle_bytes, 0.0))
        return min(self._throttle_bytes, left + (time.monotonic() - since) * self._throttle_bytes)
