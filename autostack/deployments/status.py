"""The life of a deployment: its states and the only moves between them."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a deployment stands. The values are the API's and the database's."""

    QUEUED = "queued"
    BUILDING = "building"
    DEPLOYING = "deploying"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not MOVES[self]


MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.BUILDING, Status.FAILED, Status.CANCELLED}),
    # Back to queued: the attempt was lost with its worker, and another one may be made.
    Status.BUILDING: frozenset({Status.QUEUED, Status.DEPLOYING, Status.FAILED, Status.CANCELLED}),
    Status.DEPLOYING: frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED}),
    Status.SUCCESS: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

IN_PROGRESS = frozenset(status for status in Status if not status.is_final)


def sources_of(target: Status) -> list[Status]:
    """Return the states from which a deployment may move to `target`."""
    return [status for status, targets in MOVES.items() if target in targets]


class StageStatus(StrEnum):
    """How far one stage of a deployment has come."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class LogLevel(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Trigger(StrEnum):
    """What asked for a deployment."""

    API = "api"
    DASHBOARD = "dashboard"
    PUSH = "push"
    REDEPLOY = "redeploy"
