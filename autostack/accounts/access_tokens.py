"""Personal access tokens: for the command line and for CI, where nobody logs in."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

import structlog
from sqlalchemy import Table, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import joinedload

from autostack.accounts.callers import Caller
from autostack.accounts.holding import SignedIn, hold
from autostack.accounts.models import PersonalAccessToken, Session, User
from autostack.accounts.one_time import digest
from autostack.accounts.scopes import Scope
from autostack.database import glance
from autostack.errors import Conflict, NotFound
from autostack.extensions import db, rowcount

log = structlog.stdlib.get_logger(__name__)

# Fixed, so that programs which look for leaked secrets know one.
PREFIX = "ast_"
HINT_CHARACTERS = len(PREFIX) + 6
MAX_TOKENS = 50
# How exactly is known when something was used last: each use would otherwise be a write.
SEEN_EVERY = timedelta(minutes=1)

TOKENS, USERS = cast(Table, PersonalAccessToken.__table__), cast(Table, User.__table__)
# By the token itself: as little of it as most requests need.
LIVE_TOKEN = (
    select(TOKENS.c.id, TOKENS.c.user_id, TOKENS.c.scope, TOKENS.c.last_used_at)
    .join(USERS, USERS.c.id == TOKENS.c.user_id)
    .where(
        TOKENS.c.token == bindparam("token"),
        or_(TOKENS.c.expires_at.is_(None), TOKENS.c.expires_at > bindparam("now")),
        USERS.c.is_active,
    )
)


class _Live(NamedTuple):
    """What `LIVE_TOKEN` finds."""

    id: uuid.UUID
    user_id: uuid.UUID
    scope: str
    last_used_at: datetime | None


class AccessTokenNotFound(NotFound):
    code = "ACCESS_TOKEN_NOT_FOUND"


class TooManyAccessTokens(Conflict):
    code = "TOO_MANY_ACCESS_TOKENS"


def create(session: Session, name: str, scope: Scope, lifetime_s: int | None) -> tuple[PersonalAccessToken, str]:
    """Make a token that expires after `lifetime_s` seconds, or never; return its row and itself, this once only.

    It takes a session: a token that leaked could otherwise make others that outlive it. Raises TooManyAccessTokens.
    """
    user = session.user
    # Two at once are counted one after the other, and what ends all sessions and tokens comes before or after.
    hold(SignedIn.by(session))
    if _count(user) >= MAX_TOKENS:
        db.session.rollback()
        raise TooManyAccessTokens(f"An account has at most {MAX_TOKENS} tokens. Revoke one first.")
    secret = PREFIX + secrets.token_urlsafe(32)
    expires_at = datetime.now(UTC) + timedelta(seconds=lifetime_s) if lifetime_s else None
    token = PersonalAccessToken(
        user_id=user.id,
        name=name,
        token=digest(secret),
        hint=secret[:HINT_CHARACTERS],
        scope=scope,
        expires_at=expires_at,
    )
    db.session.add(token)
    db.session.commit()
    log.info("access token made", user_id=str(user.id), token_id=str(token.id), scope=scope)
    return token, secret


def access_tokens_of(user: User) -> list[PersonalAccessToken]:
    """Return a user's tokens, the newest first; expired ones too, so that their owner sees why they fail."""
    mine = select(PersonalAccessToken).where(PersonalAccessToken.user_id == user.id)
    newest_first = mine.order_by(PersonalAccessToken.created_at.desc(), PersonalAccessToken.id)
    return list(db.session.scalars(newest_first))


def revoke(user: User, token_id: uuid.UUID) -> None:
    """Delete a token of the user's: it is worthless from now on. Raises AccessTokenNotFound."""
    mine = (PersonalAccessToken.id == token_id, PersonalAccessToken.user_id == user.id)
    revoked = db.session.execute(delete(PersonalAccessToken).where(*mine))
    db.session.commit()
    if not rowcount(revoked):
        raise AccessTokenNotFound("There is no such token.")
    log.info("access token revoked", user_id=str(user.id), token_id=str(token_id))


def revoke_all(user_id: uuid.UUID) -> None:
    """Delete all tokens of a user, within the transaction of the caller."""
    db.session.execute(delete(PersonalAccessToken).where(PersonalAccessToken.user_id == user_id))


def live_token(token_id: uuid.UUID) -> PersonalAccessToken | None:
    """Return a live token, its user loaded, by its id."""
    unexpired = or_(PersonalAccessToken.expires_at.is_(None), PersonalAccessToken.expires_at > datetime.now(UTC))
    query = select(PersonalAccessToken).join(PersonalAccessToken.user).options(joinedload(PersonalAccessToken.user))
    return db.session.scalar(query.where(PersonalAccessToken.id == token_id, unexpired, User.is_active))


def caller_of(secret: str) -> Caller | None:
    """Return who calls with a token, if that is live; note that it is used, once a minute at most."""
    now = datetime.now(UTC)
    live = _glance(secret)
    if live is not None and (live.last_used_at is None or live.last_used_at < now - SEEN_EVERY):
        used = update(PersonalAccessToken).where(PersonalAccessToken.id == live.id)
        db.session.execute(used.values(last_used_at=now))
        db.session.commit()
        # It may have been revoked meanwhile.
        live = _glance(secret)
    return Caller(live.user_id, live.id, Scope(live.scope), is_token=True) if live else None


def _glance(secret: str) -> _Live | None:
    found = glance(LIVE_TOKEN, token=digest(secret), now=datetime.now(UTC))
    return _Live(*found) if found else None


def _count(user: User) -> int:
    mine = select(func.count()).where(PersonalAccessToken.user_id == user.id)
    return db.session.scalar(mine) or 0
