"""Whose answers were written to a connection, so that what its visitor never took need not count."""

from __future__ import annotations

from collections.abc import Iterator

from autostack.sites.routes import Route

# Changes from one site to another that a connection remembers: a browser makes none.
MAX_CHANGES = 64


class Sent:
    """What was written to one connection, in order. Answers of one site in a row are one entry."""

    def __init__(self) -> None:
        self._route: Route | None = None
        self._size = 0
        self._before: tuple[tuple[Route | None, int], ...] = ()
        self._before_bytes = 0

    def add(self, route: Route | None, size: int) -> None:
        """Note an answer, of the platform's own without a route."""
        if route is self._route:
            self._size += size
            return
        self._before = (*self._before[1 - MAX_CHANGES :], (self._route, self._size))
        self._before_bytes += self._size
        self._route, self._size = route, size

    def not_taken(self, taken_bytes: int) -> Iterator[tuple[Route, int]]:
        """Return how much of which sites' answers is left when the visitor has taken so much."""
        left = self._before_bytes + self._size - taken_bytes
        for route, size in ((self._route, self._size), *reversed(self._before)):
            if left <= 0:
                return
            if route is not None:
                yield route, min(size, left)
            left -= size
