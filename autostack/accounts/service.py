"""Accounts: signing up, in and out, and the sessions behind cookies and tokens."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import contains_eager

from autostack.accounts import access_tokens, mails, one_time, passwords, tokens
from autostack.accounts.models import Session, SessionKind, User, UserPreferences
from autostack.accounts.one_time import Purpose, digest
from autostack.accounts.tokens import TokenType
from autostack.errors import Conflict, Forbidden, Invalid, Unauthorized
from autostack.extensions import db, rowcount, settings
from autostack.github import service as github
from autostack.projects import service as projects

# Asked with almost every request, so it is put together once.
LIVE_SESSIONS = (
    select(Session)
    .join(Session.user)
    .options(contains_eager(Session.user))
    .where(Session.expires_at > bindparam("now"), User.is_active)
)

log = structlog.stdlib.get_logger(__name__)


class EmailTaken(Conflict):
    code = "EMAIL_TAKEN"


class InvalidLink(Invalid):
    """One answer for a secret that never was, was used, or has expired."""

    code = "INVALID_TOKEN"

    def __init__(self) -> None:
        message = "This link is not valid any more. Ask for a new one."
        super().__init__(message, {"token": message})


class FreshSignInRequired(Forbidden):
    """The account has no password that could be asked for."""

    code = "FRESH_SIGN_IN_REQUIRED"

    def __init__(self) -> None:
        super().__init__("Sign in again first: this takes a sign-in of the last minutes.")


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


@dataclass(frozen=True)
class Visitor:
    """Where a sign-in comes from."""

    address: str | None = None
    user_agent: str | None = None


UNKNOWN = Visitor()


def sign_up(name: str, email: str, password: str) -> User:
    """Make an account. Raises Invalid for a password that cannot be one, EmailTaken."""
    _require_choosable(password, "password")
    user = User(
        name=name,
        email=normal_email(email),
        password_hash=passwords.hash_password(password, settings().bcrypt_rounds),
        preferences=UserPreferences(),
    )
    db.session.add(user)
    mails.ask_for(Purpose.VERIFY_EMAIL, user.email)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise EmailTaken("An account with this e-mail address exists already.", {"email": "is taken"}) from None
    mails.wake()
    log.info("signed up", user_id=str(user.id))
    return user


def log_in(email: str, password: str) -> User:
    """Return the user whose credentials these are. Raises InvalidCredentials."""
    user: User | None = db.session.scalar(select(User).where(User.email == normal_email(email)))
    fits = passwords.verify(password, user.password_hash if user else None, settings().bcrypt_rounds)
    if user is None or not fits or not user.is_active:
        log.warning("log-in refused", user_id=str(user.id) if user else None)
        raise InvalidCredentials
    log.info("logged in", user_id=str(user.id))
    return user


def open_api_session(user: User, visitor: Visitor = UNKNOWN) -> Tokens:
    """Begin a session of an API client; return its first pair of tokens."""
    session, secret = _open_session(user, SessionKind.API, settings().refresh_token_expires_in_s, visitor)
    return _tokens(session, secret)


def open_browser_session(user: User, remember: bool, visitor: Visitor = UNKNOWN) -> tuple[Session, str]:
    """Begin a session of a browser; it lives longer where the user asked to be remembered.

    Returns its row, and the secret that only the browser keeps.
    """
    known = settings()
    lifetime_s = known.refresh_token_expires_in_s if remember else known.jwt_expires_in_s
    return _open_session(user, SessionKind.BROWSER, lifetime_s, visitor)


def _open_session(user: User, kind: SessionKind, lifetime_s: int, visitor: Visitor) -> tuple[Session, str]:
    """Begin a session; forget the user's ended ones. Raises InvalidCredentials, see `_require_unchanged`."""
    _require_unchanged(user)
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
    return _seen(_live_session(Session.token == digest(secret), Session.kind == SessionKind.BROWSER))


def live_session(session_id: uuid.UUID) -> Session | None:
    """Return a live session, its user loaded, by its id."""
    return _live_session(Session.id == session_id)


def session_of_access_token(token: str) -> Session | None:
    """Return the live session, its user loaded, that an access token speaks for."""
    try:
        claims = tokens.read(token, TokenType.ACCESS, settings())
    except Unauthorized:
        return None
    return _seen(_live_session(Session.id == claims.session_id, Session.user_id == claims.user_id))


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
    session = _live_session(Session.id == claims.session_id)
    if session is None:
        raise Unauthorized("The session has ended. Log in again.")
    return session.user, _tokens(session, secret)


def log_out(session: Session) -> None:
    """End a session: its cookie, and every token made in it, are worthless from now on."""
    user_id = session.user_id
    db.session.execute(delete(Session).where(Session.id == session.id))
    db.session.commit()
    log.info("logged out", user_id=str(user_id))


def ask_for_verification(user: User) -> None:
    """Have the mail with the link that confirms the user's address sent (again)."""
    if not user.email_verified:
        mails.ask_for(Purpose.VERIFY_EMAIL, user.email)
        db.session.commit()
        mails.wake()


def verify_email(secret: str) -> None:
    """Confirm the address that a link was sent to. Raises InvalidLink."""
    user_id = _redeem(secret, Purpose.VERIFY_EMAIL)
    db.session.execute(update(User).where(User.id == user_id).values(email_verified=True))
    db.session.commit()
    log.info("e-mail address confirmed", user_id=str(user_id))


def ask_for_reset(email: str) -> None:
    """Have a link for a new password sent, if there is such an account. The caller learns nothing of that, also from
    the time it takes: whether there is one is only looked up as the mail is written.
    """
    mails.ask_for(Purpose.RESET_PASSWORD, normal_email(email))
    db.session.commit()
    mails.wake()


def reset_password(secret: str, password: str) -> None:
    """Set a new password by a link's secret, and end all sessions and tokens of the user.

    Raises Invalid, InvalidLink.
    """
    _require_choosable(password, "password")
    password_hash = passwords.hash_password(password, settings().bcrypt_rounds)
    user_id = _redeem(secret, Purpose.RESET_PASSWORD)
    # Whoever linked an identity before the address was confirmed may not have been its owner.
    unproven = update(User).where(User.id == user_id, User.email_verified.is_(False))
    db.session.execute(unproven.values(github_id=None, google_id=None))
    # Who has the link has the mailbox.
    changed = update(User).where(User.id == user_id).values(password_hash=password_hash, email_verified=True)
    db.session.execute(changed)
    db.session.execute(delete(Session).where(Session.user_id == user_id))
    access_tokens.revoke_all(user_id)
    db.session.commit()
    log.info("password reset", user_id=str(user_id))


def change_password(session: Session, current: str, new: str) -> None:
    """Change the password of the session's user, and end the user's other sessions and tokens. Raises Invalid."""
    user = session.user
    _require_password(user, current, "currentPassword")
    _require_choosable(new, "newPassword")
    user.password_hash = passwords.hash_password(new, settings().bcrypt_rounds)
    db.session.execute(delete(Session).where(Session.user_id == user.id, Session.id != session.id))
    access_tokens.revoke_all(user.id)
    db.session.commit()
    log.info("password changed", user_id=str(user.id))


def confirm(session: Session, password: str | None) -> None:
    """Have the session's user show once more who they are: by the password, by a fresh sign-in where there is none.

    Raises Invalid, FreshSignInRequired.
    """
    user = session.user
    if user.password_hash is not None:
        _require_password(user, password or "", "password")
    elif session.created_at <= datetime.now(UTC) - timedelta(seconds=settings().fresh_sign_in_s):
        raise FreshSignInRequired


def delete_account(session: Session, password: str | None) -> None:
    """Delete the account of a session's user with everything that is its: projects and their sites, sessions, tokens.

    Raises Invalid, FreshSignInRequired.
    """
    confirm(session, password)
    user = session.user
    user_id = user.id
    # First nobody can act for it any more, so that nothing new is made meanwhile.
    user.is_active = False
    db.session.execute(delete(Session).where(Session.user_id == user_id))
    db.session.commit()
    github.disconnect(user)
    for project in projects.projects_of(user):
        projects.delete_project(project)
    db.session.execute(delete(User).where(User.id == user_id))
    db.session.commit()
    log.info("account deleted", user_id=str(user_id))


def update_profile(user: User, name: str) -> User:
    """Change what others see of a user."""
    user.name = name
    db.session.commit()
    return user


def update_preferences(user: User, changes: Mapping[str, object]) -> UserPreferences:
    """Change preferences by the names of their columns."""
    for name, value in changes.items():
        setattr(user.preferences, name, value)
    db.session.commit()
    return user.preferences


def normal_email(email: str) -> str:
    """Return the form in which an address is stored and compared."""
    return email.strip().lower()


def _redeem(secret: str, purpose: Purpose) -> uuid.UUID:
    user_id = one_time.redeem(secret, purpose)
    if user_id is None:
        db.session.rollback()
        raise InvalidLink
    return user_id


def _require_unchanged(user: User) -> None:
    """Hold the user's row, and refuse if the account was closed or its password changed since `user` was looked at:
    the session would have been ended with the others, had it begun a moment earlier.
    """
    held = select(User.password_hash, User.is_active).where(User.id == user.id).with_for_update()
    if db.session.execute(held).one_or_none() != (user.password_hash, True):
        db.session.rollback()
        raise InvalidCredentials


def _require_password(user: User, password: str, field: str) -> None:
    if user.password_hash is None:
        raise Invalid.field(field, "This account has no password yet. Set one by a link: Forgot password?")
    if not passwords.verify(password, user.password_hash, settings().bcrypt_rounds):
        raise Invalid.field(field, "The password is wrong.")


def _require_choosable(password: str, field: str) -> None:
    if problem := passwords.problem_with(password):
        raise Invalid.field(field, problem)


def _rotate(claims: tokens.Claims, secret: str) -> bool:
    now = datetime.now(UTC)
    current = (Session.id == claims.session_id, Session.token == digest(claims.secret), Session.expires_at > now)
    rotated = db.session.execute(update(Session).where(*current).values(token=digest(secret), last_seen_at=now))
    db.session.commit()
    return rowcount(rotated) == 1


def _live_session(*conditions: object) -> Session | None:
    return db.session.scalar(LIVE_SESSIONS.where(*conditions), {"now": datetime.now(UTC)})  # type: ignore[arg-type]


def _seen(session: Session | None) -> Session | None:
    """Note that a session is used, once a minute at most."""
    now = datetime.now(UTC)
    if session and session.last_seen_at < now - access_tokens.SEEN_EVERY:
        seen = session.id
        db.session.execute(update(Session).where(Session.id == seen).values(last_seen_at=now))
        db.session.commit()
        # It may have been ended meanwhile.
        return live_session(seen)
    return session


def _tokens(session: Session, secret: str) -> Tokens:
    known = settings()
    left_s = int((session.expires_at - datetime.now(UTC)).total_seconds())
    access_s = min(known.jwt_expires_in_s, left_s)
    return Tokens(
        tokens.access_token(session.user, session.id, access_s, known),
        tokens.refresh_token(session.user, session.id, secret, left_s, known),
        access_s,
    )
