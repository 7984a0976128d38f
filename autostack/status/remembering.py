"""What takes long to make, and many ask for: made by one at a time, while the others are told what was made last.

Redis remembers it for all processes. Each also remembers it for itself, for when Redis is away.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flask import current_app
from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError

from autostack.extensions import redis

# A maker that died keeps the other processes waiting for no longer.
MAKING_S = 30
# Older than this, what was made last says too little: who asks then waits for the maker.
STALE_S = 60
SHELVES = "autostack_status_shelves"

Kept = TypeVar("Kept")


@dataclass
class Shelf(Generic[Kept]):
    """What this process made, or was given, last. The lock is its maker's."""

    name: str
    adapter: TypeAdapter[Kept]
    last: Kept | None = None
    made_at: float = 0
    making: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, made: Kept) -> Kept:
        self.last, self.made_at = made, time.monotonic()
        return made

    def younger_than(self, seconds: float) -> Kept | None:
        return self.last if time.monotonic() - self.made_at < seconds else None


def remembered(name: str, for_s: int, kind: type[Kept], make: Callable[[], Kept]) -> Kept:
    """Return what was made at most `for_s` seconds ago; up to STALE_S ago while somebody makes it anew."""
    shelf = _shelf(name, kind)
    kept = _recall(shelf, for_s)
    if kept is not None:
        return kept
    last = shelf.younger_than(STALE_S)
    if not shelf.making.acquire(blocking=last is None):
        return last  # type: ignore[return-value]
    try:
        # Another thread may have made it while this one waited.
        return _recall(shelf, for_s) or _make(shelf, for_s, make, last)
    finally:
        shelf.making.release()


def _make(shelf: Shelf[Kept], for_s: int, make: Callable[[], Kept], last: Kept | None) -> Kept:
    claimed = _claim(shelf)
    if last is not None and not claimed:
        return last
    try:
        made = shelf.keep(make())
        with contextlib.suppress(RedisError):
            redis().set(shelf.name, shelf.adapter.dump_json(made), ex=for_s)
        return made
    finally:
        if claimed:
            with contextlib.suppress(RedisError):
                redis().delete(_claim_of(shelf))


def _recall(shelf: Shelf[Kept], for_s: int) -> Kept | None:
    try:
        kept = redis().get(shelf.name)
    except RedisError:
        return shelf.younger_than(for_s)
    # Another release of ours may have written another shape.
    with contextlib.suppress(ValidationError):
        if isinstance(kept, bytes):
            return shelf.keep(shelf.adapter.validate_json(kept))
    return None


def _claim(shelf: Shelf[Kept]) -> bool:
    """Tell the other processes that this one makes it. False if another does. Without Redis each is on its own."""
    try:
        return bool(redis().set(_claim_of(shelf), b"1", nx=True, ex=MAKING_S))
    except RedisError:
        return True


def _claim_of(shelf: Shelf[Kept]) -> str:
    return f"{shelf.name}:making"


def _shelf(name: str, kind: type[Kept]) -> Shelf[Kept]:
    shelves: dict[str, Shelf[Any]] = current_app.extensions.setdefault(SHELVES, {})
    key = f"autostack:status:{name}"
    return shelves.get(key) or shelves.setdefault(key, Shelf(key, TypeAdapter(kind)))
