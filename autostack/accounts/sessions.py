"""One's own sessions: which there are, and ending them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import structlog
from sqlalchemy import delete, select

from autostack.accounts.models import Session, User
from autostack.errors import NotFound
from autostack.extensions import db, rowcount

log = structlog.stdlib.get_logger(__name__)


class SessionNotFound(NotFound):
    code = "SESSION_NOT_FOUND"


def sessions_of(user: User) -> list[Session]:
    """Return a user's live sessions, the one used last first."""
    live = (Session.user_id == user.id, Session.expires_at > datetime.now(UTC))
    return list(db.session.scalars(select(Session).where(*live).order_by(Session.last_seen_at.desc(), Session.id)))


def end(user: User, session_id: uuid.UUID) -> None:
    """End a session of the user's: from now on its cookie and its tokens are worthless. Raises SessionNotFound."""
    ended = db.session.execute(delete(Session).where(Session.id == session_id, Session.user_id == user.id))
    db.session.commit()
    if not rowcount(ended):
        raise SessionNotFound("There is no such session.")
    log.info("session ended", user_id=str(user.id), session_id=str(session_id))


def end_others(session: Session) -> None:
    """End all sessions of the session's user but itself."""
    others = delete(Session).where(Session.user_id == session.user_id, Session.id != session.id)
    ended = db.session.execute(others)
    db.session.commit()
    log.info("other sessions ended", user_id=str(session.user_id), count=rowcount(ended))
