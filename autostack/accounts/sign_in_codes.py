"""Codes: what a front end elsewhere trades for tokens once somebody has signed in by GitHub or Google.

A code comes to the front end in an address. So it is good once, for seconds, and only with the verifier whose challenge
the front end sent as the sign-in began (RFC 7636): who steals a code has nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, select

from autostack.accounts import sessions
from autostack.accounts.models import SignInCode, User
from autostack.accounts.oauth import AccountClosed
from autostack.accounts.one_time import digest
from autostack.errors import Unauthorized
from autostack.extensions import db, rowcount

LIFETIME_S = 60

log = structlog.stdlib.get_logger(__name__)


class InvalidCode(Unauthorized):
    """One answer for a code that never was, was used, has expired, or is another client's."""

    code = "INVALID_CODE"

    def __init__(self) -> None:
        super().__init__("This code is not good any more, or the verifier is not the one that it takes. Begin again.")


def issue(user: User, challenge: str) -> str:
    """Return a code for whoever knows the verifier of `challenge`. Raises InvalidCredentials, see `sessions`."""
    user_id, now, code = user.id, datetime.now(UTC), secrets.token_urlsafe(32)
    expired = select(SignInCode.id).where(SignInCode.expires_at <= now).with_for_update(skip_locked=True)
    # The account first, as everybody holds it who ends its codes.
    sessions.hold_unchanged(user)
    db.session.execute(delete(SignInCode).where(SignInCode.id.in_(expired)))
    expires_at = now + timedelta(seconds=LIFETIME_S)
    db.session.add(SignInCode(user_id=user_id, token=_token(code, challenge), expires_at=expires_at))
    db.session.commit()
    return code


def redeem(code: str, verifier: str) -> User:
    """Use a code up within the caller's transaction; return whose it was, the account held.

    Raises InvalidCode, AccountClosed.
    """
    token = _token(code, _challenge(verifier))
    # The account first: what ends its sessions ends its codes too, and comes before or after.
    holder = select(User).where(
        User.id == select(SignInCode.user_id).where(SignInCode.token == token).scalar_subquery()
    )
    user: User | None = db.session.scalar(holder.with_for_update())
    used = delete(SignInCode).where(SignInCode.token == token, SignInCode.expires_at > datetime.now(UTC))
    if not rowcount(db.session.execute(used)) or user is None:
        db.session.rollback()
        log.warning("log-in refused", reason=InvalidCode.code)
        raise InvalidCode
    if not user.is_active:
        db.session.commit()
        raise AccountClosed
    return user


def _challenge(verifier: str) -> str:
    """Return the challenge of a verifier, by the method S256."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _token(code: str, challenge: str) -> str:
    return digest(f"{code}.{challenge}")
