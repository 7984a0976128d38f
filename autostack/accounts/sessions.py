"""Sessions: the sign-ins of browsers and API clients, their tokens, and ending them."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import structlog
from sqlalchemy import Select, Table, bindparam, delete, select, update
from sqlalchemy.orm import contains_eager

from autostack.accounts import access_tokens, tokens
from autostack.accounts.callers import Caller
from autostack.accounts.models import Session, SessionKind, User
from autostack.accounts.one_time import digest
from autostack.accounts.scopes import Scope
from autostack.accounts.service import InvalidCredentials
from autostack.accounts.tokens import TokenType
from autostack.database import glance
from autostack.errors import NotFound, Unauthorized
from autostack.extensions import db, rowcount, settings

# Asked with almost every request, so they are put together once.
LIVE_SESSIONS = (
    select(Session)
    .join(Session.user)
    .options(contains_eager(Session.user))
    .where(Session.expires_at > bindparam("now"), User.is_active)
)
LIVE_SESSION_OF_ID = LIVE_SESSIONS.where(Session.id == bindparam("id"))
LIVE_SESSION_OF_COOKIE = LIVE_SESSIONS.where(Session.token == bindparam("token"), Session.kind == SessionKind.BROWSER)

SESSIONS, USERS = cast(Table, Session.__table__), cast(Table, User.__table__)
# The same by what an access token says: as little of it as most requests need.
LIVE_SESSION = (
    select(SESSIONS.c.id, SESSIONS.c.last_seen_at)
    .join(USERS, USERS.c.id == SESSIONS.c.user_id)
    .where(
        SESSIONS.c.id == bindparam("id"),
        SESSIONS.c.user_id == bindparam("user_id"),
        SESSIONS.c.expires_at > bindparam("now"),
        USERS.c.is_active,
    )
)
# Nothing that the ORM has loaded is to follow: a commit does.
ROTATION = (
    update(SESSIONS)
    .where(
        SESSIONS.c.id == bindparam("session_id"),
        SESSIONS.c.token == bindparam("current"),
        SESSIONS.c.expires_at > bindparam("now"),
    )
    .values(token=bindparam("next"), last_seen_at=bindparam("now"))
)

log = structlog.stdlib.get_logger(__name__)


class SessionNotFound(NotFound):
    code = "SESSION_NOT_FOUND"


@dataclass(frozen=True)
class Tokens:
    """A pair of tokens; `expires_in_s` is the access token's."""

    access: str
    refresh: str
    expires_in_s: int


@dataclass(frozen=True)
class Visitor:
    """Where a sign-in comes from."""

    address: str | None = None
    user_agent: str | None = None


UNKNOWN = Visitor()


def open_api_session(user: User, visitor: Visitor = UNKNOWN) -> Tokens:
    """Begin a session of an API client; return its first pair of tokens."""
    session, secret = _open_session(user, SessionKind.API, settings().refresh_token_expires_in_s, visitor)
    return _tokens(session, secret)


def open_browser_session(user: User, remember: bool, visitor: Visitor = UNKNOWN) -> tuple[Session, str]:
    """Begin a session of a browser; it lives longer where the user asked to be remembered.

    Returns its row, and the secret that only the browser keeps.
    """
    configured = settings()
    lifetime_s = configured.refresh_token_expires_in_s if remember else configured.jwt_expires_in_s
    return _open_session(user, SessionKind.BROWSER, lifetime_s, visitor)


def _open_session(user: User, kind: SessionKind, lifetime_s: int, visitor: Visitor) -> tuple[Session, str]:
    """Begin a session; forget the user's ended ones. Raises InvalidCredentials, see `hold_unchanged`."""
    hold_unchanged(user)
    now, secret = datetime.now(UTC), secrets.token_urlsafe(32)
    db.session.execute(delete(Session).where(Session.user_id == user.id, Session.expires_at <= now))
    session = Session(
        user=user,
        kind=kind,
        token=digest(secret),
        expires_at=now + timedelta(seconds=lifetime_s),
        address=visitor.address,
        user_agent=visitor.user_agent,
    )
    db.session.add(session)
    db.session.commit()
    return session, secret


def session_of_secret(secret: str) -> Session | None:
    """Return the browser's live session, its user loaded, whose secret this is."""
    return _seen(_live_session(LIVE_SESSION_OF_COOKIE, token=digest(secret)))


def live_session(session_id: uuid.UUID) -> Session | None:
    """Return a live session, its user loaded, by its id."""
    return _live_session(LIVE_SESSION_OF_ID, id=session_id)


def caller_of(access_token: str) -> Caller | None:
    """Return whom an access token speaks for, if its session is live."""
    try:
        claims = tokens.read(access_token, TokenType.ACCESS, settings())
    except Unauthorized:
        return None
    live = _glance(claims)
    if live is not None and _is_stale(live[1]):
        _note_seen(claims.session_id)
        # It may have been ended meanwhile.
        live = _glance(claims)
    return Caller(claims.user_id, claims.session_id, Scope.ADMIN, is_token=False) if live else None


def refresh(refresh_token: str) -> tuple[User, Tokens]:
    """Trade a refresh token for a new pair. Raises Unauthorized.

    Each refresh token is good once. One that comes back was copied, and ends its session for thief and owner alike
    (RFC 9700, section 4.14.2). A client that lost the answer and asks again looks just like that, and has to log in
    again: who would let it through would let the thief through. No refreshing makes a session last longer.
    """
    claims = tokens.read(refresh_token, TokenType.REFRESH, settings())
    secret = secrets.token_urlsafe(32)
    if not _rotate(claims, secret):
        db.session.execute(delete(Session).where(Session.id == claims.session_id))
        db.session.commit()
        log.warning("refresh token refused, session ended", session_id=str(claims.session_id))
        raise Unauthorized("The refresh token is not valid any more. Log in again.")
    session = live_session(claims.session_id)
    if session is None:
        raise Unauthorized("The session has ended. Log in again.")
    return session.user, _tokens(session, secret)


def log_out(session: Session) -> None:
    """End a session: its cookie, and every token made in it, are worthless from now on."""
    user_id = session.user_id
    db.session.execute(delete(Session).where(Session.id == session.id))
    db.session.commit()
    log.info("logged out", user_id=str(user_id))


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


def hold_unchanged(user: User) -> None:
    """Hold the user's row, and refuse if the account was closed or its password changed since `user` was looked at:
    the session would have been ended with the others, had it begun a moment earlier.
    """
    held = select(User.password_hash, User.is_active).where(User.id == user.id).with_for_update()
    if db.session.execute(held).one_or_none() != (user.password_hash, True):
        db.session.rollback()
        raise InvalidCredentials


def _rotate(claims: tokens.Claims, secret: str) -> bool:
    values = {"session_id": claims.session_id, "current": digest(claims.secret), "next": digest(secret)}
    rotated = db.session.execute(ROTATION, {**values, "now": datetime.now(UTC)})
    db.session.commit()
    return rowcount(rotated) == 1


def _live_session(statement: Select[Session], **values: object) -> Session | None:
    return db.session.scalar(statement, {**values, "now": datetime.now(UTC)})


def _glance(claims: tokens.Claims) -> tuple[uuid.UUID, datetime] | None:
    """Return the id of the live session that a token names, and when that was used last."""
    return glance(LIVE_SESSION, id=claims.session_id, user_id=claims.user_id, now=datetime.now(UTC))


def _seen(session: Session | None) -> Session | None:
    """Note that a session is used, once a minute at most."""
    if session and _is_stale(session.last_seen_at):
        seen = session.id
        _note_seen(seen)
        # It may have been ended meanwhile.
        return live_session(seen)
    return session


def _is_stale(seen_at: datetime) -> bool:
    return seen_at < datetime.now(UTC) - access_tokens.SEEN_EVERY


def _note_seen(session_id: uuid.UUID) -> None:
    db.session.execute(update(Session).where(Session.id == session_id).values(last_seen_at=datetime.now(UTC)))
    db.session.commit()


def _tokens(session: Session, secret: str) -> Tokens:
    configured = settings()
    left_s = int((session.expires_at - datetime.now(UTC)).total_seconds())
    access_s = min(configured.jwt_expires_in_s, left_s)
    return Tokens(
        tokens.access_token(session.user, session.id, access_s, configured),
        tokens.refresh_token(session.user, session.id, secret, left_s, configured),
        access_s,
    )
