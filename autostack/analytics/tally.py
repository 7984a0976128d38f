"""What happened to deployments in some time, and how two such times compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce


@dataclass(frozen=True)
class Tally:
    """What happened in some time. Of several times it can be added up.

    `built` deployments succeeded and have a build time: `total_s` is the sum of those, `min_s` and `max_s` the shortest
    and the longest, None if there are none.
    """

    deployments: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    built: int = 0
    total_s: int = 0
    min_s: int | None = None
    max_s: int | None = None

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.deployments + other.deployments,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.cancelled + other.cancelled,
            self.built + other.built,
            self.total_s + other.total_s,
            min(_known(self.min_s, other.min_s), default=None),
            max(_known(self.max_s, other.max_s), default=None),
        )

    @property
    def success_rate(self) -> float | None:
        """Percent that succeeded, of those that succeeded or failed; None if there are none."""
        return percent(self.succeeded, self.succeeded + self.failed)

    @property
    def failure_rate(self) -> float | None:
        """Percent that failed, of the same; None if there are none."""
        return percent(self.failed, self.succeeded + self.failed)

    @property
    def mean_s(self) -> float | None:
        """The mean build time; None if nothing was built."""
        return self.total_s / self.built if self.built else None


def merged(tallies: Iterable[Tally]) -> Tally:
    """Return what happened in several times together."""
    return reduce(Tally.__add__, tallies, Tally())


def percent(part: int, whole: int) -> float | None:
    """Return how much `part` is of `whole`, to one decimal; None of nothing."""
    return round(100 * part / whole, 1) if whole else None


def change(now: float | None, before: float | None) -> float | None:
    """Return how much more `now` is than `before`, in percent to one decimal; None where there was nothing before."""
    return round(100 * (now - before) / before, 1) if now is not None and before else None


def difference(now: float | None, before: float | None) -> float | None:
    """Return how much more `now` is than `before`, to one decimal; None if either is unknown."""
    return round(now - before, 1) if now is not None and before is not None else None


def _known(*values: int | None) -> list[int]:
    return [value for value in values if value is not None]
