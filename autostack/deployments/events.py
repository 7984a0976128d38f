"""What follows a change of a deployment once it is committed: its watchers are woken, what is remembered of its owner
is forgotten, and its log line is written.

What wakes watchers says only that there is something new; PostgreSQL says what.
"""

from __future__ import annotations

import uuid
from typing import Literal

import structlog
from redis.exceptions import RedisError
from sqlalchemy import event
from sqlalchemy.orm import Session

from autostack import cache
from autostack.extensions import db, redis

log = structlog.stdlib.get_logger(__name__)

PENDING = "deployments_to_announce"
OUTDATED = "owners_to_forget"
NOTES = "deployment_events_to_log"


def channel(deployment_id: uuid.UUID | Literal["*"]) -> str:
    """Return the pub/sub channel of one deployment, or the pattern of all."""
    return f"autostack:deployment:{deployment_id}"


def changed(deployment_id: uuid.UUID) -> None:
    """Wake the watchers of a deployment once the current transaction is committed."""
    db.session().info.setdefault(PENDING, set()).add(deployment_id)


def outdated(user_id: uuid.UUID) -> None:
    """Forget what is remembered of a user's deployments once the current transaction is committed."""
    db.session().info.setdefault(OUTDATED, set()).add(user_id)


def note(event: str, **facts: object) -> None:
    """Log an event of a deployment's life once the current transaction is committed."""
    db.session().info.setdefault(NOTES, []).append((event, facts))


def listen() -> None:
    """Have commits send what `changed` collected. Call it once, when the application is made."""
    if not event.contains(Session, "after_commit", _announce):
        event.listen(Session, "after_commit", _announce)
        event.listen(Session, "after_rollback", _forget)


def _announce(session: Session) -> None:
    for name, facts in session.info.pop(NOTES, ()):
        log.info(name, **facts)
    waiting: set[uuid.UUID] = session.info.pop(PENDING, set())
    owners: set[uuid.UUID] = session.info.pop(OUTDATED, set())
    try:
        if owners:
            cache.forget(owners)
        for deployment_id in waiting:
            redis().publish(channel(deployment_id), b"changed")
    except RedisError as error:
        # Watchers look at PostgreSQL by themselves now and then, and what is remembered ends within a minute.
        log.warning("a deployment's change was not announced", error=str(error))


def _forget(session: Session) -> None:
    session.info.pop(OUTDATED, None)
    session.info.pop(PENDING, None)
    session.info.pop(NOTES, None)
