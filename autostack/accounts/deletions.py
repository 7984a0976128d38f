"""Deleting an account: it is closed at once; a job empties and removes it, told by the sweep until that is done."""

from __future__ import annotations

import uuid

import structlog
from sqlalchemy import delete, exists, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from autostack.accounts import access_tokens
from autostack.accounts.holding import SignedIn, hold
from autostack.accounts.models import Session, User
from autostack.accounts.service import confirm
from autostack.extensions import db
from autostack.github import revocations
from autostack.github import service as github
from autostack.projects import deleted
from autostack.projects import service as projects
from autostack.queue import CONTROL, enqueue_once

log = structlog.stdlib.get_logger(__name__)

JOB = "autostack.accounts.jobs.delete_closed_accounts"


def delete_account(session: Session, password: str | None) -> None:
    """Close the account of a session's user for good, and have it deleted with everything that is its.

    From now on nobody can act for it. Its address is free again once its projects are gone.
    Raises Invalid, FreshSignInRequired, Unauthorized.
    """
    confirm(session, password)
    user_id = session.user_id
    hold(SignedIn.by(session))
    session.user.is_active = False
    session.user.deletion_asked_at = func.now()
    db.session.execute(delete(Session).where(Session.user_id == user_id))
    access_tokens.revoke_all(user_id)
    disconnected = github.forget(user_id)
    db.session.commit()
    log.info("account closed", user_id=str(user_id))
    tell_queue()
    if disconnected:
        revocations.tell_queue()


def tell_queue() -> None:
    """Have a worker delete what is closed. If Redis does not take it, or forgets it, the sweep tells it again."""
    enqueue_once(CONTROL, JOB)


def are_overdue() -> bool:
    """Tell whether an account is still there that a worker was told of a while ago."""
    a_while_ago = func.now() - text("interval '10 seconds'")
    return bool(db.session.scalar(select(exists().where(User.deletion_asked_at < a_while_ago))))


def delete_closed() -> None:
    """Delete every account whose owner asked for it, the first who asked first."""
    asked = select(User.id).where(User.deletion_asked_at.is_not(None)).order_by(User.deletion_asked_at)
    for user_id in db.session.scalars(asked).all():
        try:
            if not _delete(user_id):
                tell_queue()
        except SQLAlchemyError:
            # A project that somebody holds must not keep the other accounts back.
            db.session.rollback()
            log.exception("account not deleted yet", user_id=str(user_id))


def _delete(user_id: uuid.UUID) -> bool:
    """Delete an account with its projects. False if there is more of them than one job takes away."""
    projects.delete_projects_of(user_id)
    return deleted.remove_some(user_id) and _delete_emptied(user_id)


def _delete_emptied(user_id: uuid.UUID) -> bool:
    """Delete an account without projects. False if a request that began before it was closed has made one more."""
    # Held, so that none is made from here on: its folder and its host would be nobody's to remove.
    db.session.execute(select(User.id).where(User.id == user_id).with_for_update())
    if projects.has_projects(user_id) or deleted.is_left_of(user_id):
        db.session.rollback()
        return False
    db.session.execute(delete(User).where(User.id == user_id))
    db.session.commit()
    log.info("account deleted", user_id=str(user_id))
    return True
