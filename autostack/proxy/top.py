"""The most frequent names of a stream in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005)."""

from __future__ import annotations

import heapq


class Top:
    """Counts of at most `capacity` names. A new name takes the place of the least frequent one, and its count.

    That count is the most that the new one can have been overlooked by. What is told is without it: never too much.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        # One entry a name, whose count may be behind: it is put right when it comes to the top.
        self._heap: list[tuple[int, str]] = []

    def add(self, name: str, count: int) -> None:
        """Count a name `count` times."""
        if name in self._counts:
            self._counts[name] += count
            return
        error = self._take_least() if len(self._counts) >= self._capacity else 0
        self._counts[name] = error + count
        self._errors[name] = error
        heapq.heappush(self._heap, (error + count, name))

    def certain(self) -> dict[str, int]:
        """Return how often each name was counted at least."""
        return {name: count - self._errors[name] for name, count in self._counts.items()}

    def _take_least(self) -> int:
        while self._counts[self._heap[0][1]] != self._heap[0][0]:
            name = self._heap[0][1]
            heapq.heapreplace(self._heap, (self._counts[name], name))
        count, name = heapq.heappop(self._heap)
        del self._counts[name], self._errors[name]
        return count
