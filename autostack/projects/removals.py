"""Folders of the object store that nobody owns any more: planned with their owner's deletion, carried out by a job."""

from __future__ import annotations

from sqlalchemy import delete, exists, func, select, text

from autostack.extensions import db
from autostack.projects.models import Removal
from autostack.queue import CONTROL, enqueue_once

JOB = "autostack.deployments.jobs.remove_planned"


def plan(prefix: str) -> None:
    """Have a folder removed, in the transaction that deletes its owner. The caller commits, then tells the queue."""
    db.session.add(Removal(prefix=prefix))


def tell_queue() -> None:
    """Have a worker carry out what is planned. If Redis does not take it, or forgets it, the sweep tells it again."""
    enqueue_once(CONTROL, JOB)


def planned() -> list[str]:
    """Return the folders that are to be removed, the oldest plan first."""
    return list(db.session.scalars(select(Removal.prefix).order_by(Removal.created_at)))


def is_overdue() -> bool:
    """Tell whether a folder is still there that a worker was told of a while ago."""
    a_while_ago = func.now() - text("interval '10 seconds'")
    return bool(db.session.scalar(select(exists().where(Removal.created_at < a_while_ago))))


def done(prefix: str) -> None:
    """Forget a folder that was removed. Commits."""
    db.session.execute(delete(Removal).where(Removal.prefix == prefix))
    db.session.commit()
