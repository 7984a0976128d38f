"""Accounts: signing up, logging in, addresses and passwords, profile and preferences. Sessions are in `sessions.py`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from autostack.accounts import access_tokens, mails, one_time, passwords
from autostack.accounts.holding import SignedIn, hold
from autostack.accounts.models import GitHubConnection, Session, SignInCode, User, UserPreferences
from autostack.accounts.one_time import Purpose
from autostack.errors import Conflict, Forbidden, Invalid, Unauthorized
from autostack.extensions import db, rowcount, settings

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
    try:
        # Its statement brings the account's along.
        mails.ask_for(Purpose.VERIFY_EMAIL, user.email)
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


def ask_for_verification(user: User) -> None:
    """Have the mail with the link that confirms the user's address sent again, if the last was not sent just now."""
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
    """Have a link for a new password sent, if there is such an account and the last was not sent just now. The caller
    learns nothing of that, also from the time it takes: whether there is one is only looked up as the mail is written.
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
    if rowcount(db.session.execute(unproven.values(github_id=None, google_id=None))):
        db.session.execute(delete(GitHubConnection).where(GitHubConnection.user_id == user_id))
    # Who has the link has the mailbox.
    changed = update(User).where(User.id == user_id).values(password_hash=password_hash, email_verified=True)
    db.session.execute(changed)
    db.session.execute(delete(Session).where(Session.user_id == user_id))
    _revoke_all(user_id)
    db.session.commit()
    log.info("password reset", user_id=str(user_id))


def change_password(session: Session, current: str, new: str) -> None:
    """Change the password of the session's user, and end the user's other sessions and tokens. Raises Invalid."""
    user = session.user
    _require_password(user, current, "currentPassword")
    _require_choosable(new, "newPassword")
    password_hash = passwords.hash_password(new, settings().bcrypt_rounds)
    # That took a while: a reset meanwhile is its owner's last word.
    hold(SignedIn.by(session))
    user.password_hash = password_hash
    db.session.execute(delete(Session).where(Session.user_id == user.id, Session.id != session.id))
    _revoke_all(user.id)
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


def _revoke_all(user_id: uuid.UUID) -> None:
    """Have nothing that is no session let anybody in any more."""
    access_tokens.revoke_all(user_id)
    db.session.execute(delete(SignInCode).where(SignInCode.user_id == user_id))


def _require_password(user: User, password: str, field: str) -> None:
    if user.password_hash is None:
        raise Invalid.field(field, "This account has no password yet. Set one by a link: Forgot password?")
    if not passwords.verify(password, user.password_hash, settings().bcrypt_rounds):
        log.warning("password refused", user_id=str(user.id))
        raise Invalid.field(field, "The password is wrong.")


def _require_choosable(password: str, field: str) -> None:
    if problem := passwords.problem_with(password):
        raise Invalid.field(field, problem)
