"""Tasks on ECS whose attempts go with a deleted deployment: they are kept until they are stopped."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from autostack.builds.models import BuildAttempt, Outcome, TaskToStop
from autostack.extensions import db
from autostack.hiding import table_of

_attempts = table_of(BuildAttempt)
_may_run = or_(_attempts.c.ended_at.is_(None), _attempts.c.outcome.in_([Outcome.CANCELLED, Outcome.LOST]))


def take_attempts(deployment_ids: Sequence[uuid.UUID]) -> None:
    """Delete the attempts of deployments that are about to be deleted, and keep what runs for them. The caller commits.

    Who notes a task of such an attempt at the same time does it before, and it is kept here, or finds the attempt gone.
    """
    gone = delete(_attempts).where(_attempts.c.deployment_id.in_(deployment_ids))
    running = _attempts.c.task.is_not(None) & ~_attempts.c.task_over & _may_run
    for task in db.session.execute(gone.returning(_attempts.c.task, running.label("running"))).all():
        if task.running:
            keep(task.task)


def keep(task: str) -> None:
    """Have a task stopped that belongs to no attempt any more. The caller commits."""
    db.session.execute(insert(TaskToStop).values(task=task).on_conflict_do_nothing())


def to_stop() -> Sequence[str]:
    """Return the tasks that are to be stopped, the oldest first."""
    return db.session.scalars(select(TaskToStop.task).order_by(TaskToStop.created_at)).all()


def forget(task: str) -> None:
    """Note that a task was stopped. Commits."""
    db.session.execute(delete(TaskToStop).where(TaskToStop.task == task))
    db.session.commit()


def count() -> int:
    """Return how many tasks are still to be stopped."""
    return db.session.scalar(select(func.count()).select_from(TaskToStop)) or 0
