"""Accounts: signing up, in and out, and the sessions behind cookies and tokens."""

from __future__ import annotations

import hashlib
import logging
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from autostack.accounts import passwords, tokens
from autostack.accounts.models import Session, User, UserPreferences
from autostack.accounts.tokens import TokenType
from autostack.errors import Conflict, Invalid, Unauthorized
from autostack.extensions import db, rowcount, settings

log = logging.getLogger(__name__)


class EmailTaken(Conflict):
    code = "EMAIL_TAKEN"


class InvalidCredentials(Unauthorized):
    """One answer for an unknown address, a wrong password and a closed account: nobody learns which it was."""

    code = "INVALID_CREDENTIALS"

    def __init__(self) -> None:
        super().__init__("The e-mail address or the password is wrong.")


@dataclass(frozen=True)
class Tokens:
    """A pair of tokens; `expires_in_s` is the access token's."""

    access: str
    refresh: str
    expires_in_s: int


def sign_up(name: str, email: str, password: str) -> User:
    """Make an account. Raises Invalid for a password that cannot be one, EmailTaken."""
    if problem := passwords.problem_with(password):
        raise Invalid.field("password", problem)
    user = User(
        name=name,
        email=normal_email(email),
        password_hash=passwords.hash_password(password, settings().bcrypt_rounds),
        preferences=UserPreferences(),
    )
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise EmailTaken("An account with this e-mail address exists already.", {"email": "is taken"}) from None
    log.info("signed up: user %s", user.id)
    return user


def log_in(email: str, password: str) -> User:
    """Return the user whose credentials these are. Raises InvalidCredentials."""
    user: User | None = db.session.scalar(select(User).where(User.email == normal_email(email)))
    fits = passwords.verify(password, user.password_hash if user else None, settings().bcrypt_rounds)
    if user is None or not fits or not user.is_active:
        log.info("log-in refused: user %s", user.id if user else "unknown")
        raise InvalidCredentials
    log.info("logged in: user %s", user.id)
    return user


def open_session(user: User, lifetime_s: int) -> tuple[Session, str]:
    """Begin a session; return its row and the secret that only its holder keeps. Forgets the user's ended ones."""
    now, secret = datetime.now(UTC), secrets.token_urlsafe(32)
    db.session.execute(delete(Session).where(Session.user_id == user.id, Session.expires_at <= now))
    session = Session(user_id=user.id, token=_hash(secret), expires_at=now + timedelta(seconds=lifetime_s))
    db.session.add(session)
    db.session.commit()
    return session, secret


def open_api_session(user: User) -> Tokens:
    """Begin a session of an API client; return its first pair of tokens."""
    session, secret = open_session(user, settings().refresh_token_expires_in_s)
    return _tokens(user, session.id, secret)


def open_browser_session(user: User, remember: bool) -> tuple[Session, str]:
    """Begin a session of a browser; it lives longer where the user asked to be remembered."""
    known = settings()
    return open_session(user, known.refresh_token_expires_in_s if remember else known.jwt_expires_in_s)


def session_of_secret(secret: str) -> Session | None:
    """Return the live session, its user loaded, whose secret this is."""
    return _live_session(Session.token == _hash(secret))


def session_of_access_token(token: str) -> Session | None:
    """Return the live session, its user loaded, that an access token speaks for."""
    try:
        claims = tokens.read(token, TokenType.ACCESS, settings())
    except Unauthorized:
        return None
    return _live_session(Session.id == claims.session_id, Session.user_id == claims.user_id)


def refresh(refresh_token: str) -> tuple[User, Tokens]:
    """Trade a refresh token for a new pair. Raises Unauthorized.

    Each refresh token is good once. One that comes back was copied, and ends its session for thief and owner alike
    (RFC 9700, section 4.14.2).
    """
    claims = tokens.read(refresh_token, TokenType.REFRESH, settings())
    secret = secrets.token_urlsafe(32)
    if not _rotate(claims, secret):
        db.session.execute(delete(Session).where(Session.id == claims.session_id))
        db.session.commit()
        log.warning("refresh token refused, session %s ended", claims.session_id)
        raise Unauthorized("The refresh token is not valid any more. Log in again.")
    session = _live_session(Session.id == claims.session_id)
    if session is None:
        raise Unauthorized("The session has ended. Log in again.")
    return session.user, _tokens(session.user, session.id, secret)


def log_out(session: Session) -> None:
    """End a session: its cookie, and every token made in it, are worthless from now on."""
    db.session.execute(delete(Session).where(Session.id == session.id))
    db.session.commit()


def normal_email(email: str) -> str:
    """Return the form in which an address is stored and compared."""
    return email.strip().lower()


def _rotate(claims: tokens.Claims, secret: str) -> bool:
    now = datetime.now(UTC)
    current = (Session.id == claims.session_id, Session.token == _hash(claims.secret), Session.expires_at > now)
    expires_at = now + timedelta(seconds=settings().refresh_token_expires_in_s)
    rotated = db.session.execute(update(Session).where(*current).values(token=_hash(secret), expires_at=expires_at))
    db.session.commit()
    return rowcount(rotated) == 1


def _live_session(*conditions: object) -> Session | None:
    query = select(Session).join(Session.user).options(joinedload(Session.user))
    alive = (Session.expires_at > datetime.now(UTC), User.is_active)
    return db.session.scalar(query.where(*conditions, *alive))  # type: ignore[arg-type]


def _tokens(user: User, session_id: uuid.UUID, secret: str) -> Tokens:
    known = settings()
    return Tokens(
        tokens.access_token(user, session_id, known),
        tokens.refresh_token(user, session_id, secret, known),
        known.jwt_expires_in_s,
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
