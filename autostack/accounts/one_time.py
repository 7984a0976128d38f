"""Secrets that are good for one thing, once, and not for long: what the links in our mails carry."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from autostack.accounts.models import OneTimeToken
from autostack.extensions import db


class Purpose(StrEnum):
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of a purpose
    VERIFY_EMAIL = "verify_email"


def issue(user_id: uuid.UUID, purpose: Purpose, expires_at: datetime) -> str:
    """Return a new secret of the user for this purpose. It takes the place of the one before, if there was one."""
    secret = secrets.token_urlsafe(32)
    values = {"token": digest(secret), "expires_at": expires_at}
    new = insert(OneTimeToken).values(user_id=user_id, purpose=purpose.value, **values)
    db.session.execute(new.on_conflict_do_update(index_elements=["user_id", "purpose"], set_=values))
    db.session.commit()
    return secret


def redeem(secret: str, purpose: Purpose) -> uuid.UUID | None:
    """Use a secret up within the caller's transaction; return whose it was, or None if it is not good (any more)."""
    used = delete(OneTimeToken).where(
        OneTimeToken.token == digest(secret),
        OneTimeToken.purpose == purpose.value,
        OneTimeToken.expires_at > datetime.now(UTC),
    )
    return db.session.scalar(used.returning(OneTimeToken.user_id))


def digest(secret: str) -> str:
    """Return the form in which a secret of ours is stored: a guess at 256 random bits needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
