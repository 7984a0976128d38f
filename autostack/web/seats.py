"""How many websockets may be open at once: each holds a thread of this process for as long as it is."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping


class Seats:
    """Counts what is open, by names such as `user:…`. Safe to share between threads."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def seat(self, limits: Mapping[str, int]) -> Iterator[bool]:
        """Take one seat of each name until the block ends; give False, and take none, where a limit is reached."""
        with self._lock:
            free = all(self._taken[name] < limit for name, limit in limits.items())
            if free:
                self._taken.update(limits.keys())
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._taken.subtract(limits.keys())
                    # Names are of all who ever came: those of nobody here go.
                    self._taken += Counter()
