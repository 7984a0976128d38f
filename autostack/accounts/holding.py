"""What takes a while is checked once more at its end, with the account held: its sessions may have been ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select

from autostack.accounts.models import Session, User
from autostack.errors import Unauthorized
from autostack.extensions import db


@dataclass(frozen=True)
class SignedIn:
    """Who is signed in as something begins. Kept apart from the rows, which may be gone at its end."""

    user_id: uuid.UUID
    session_id: uuid.UUID

    @classmethod
    def by(cls, session: Session) -> SignedIn:
        return cls(session.user_id, session.id)


def hold(who: SignedIn) -> None:
    """Hold a user's row until the transaction ends. Raises Unauthorized if the session has ended.

    Whatever ends all of a user's sessions (a reset, a change of password, a suspension) comes before or after.
    """
    db.session.execute(select(User.id).where(User.id == who.user_id).with_for_update())
    if db.session.scalar(select(Session.id).where(Session.id == who.session_id)) is None:
        db.session.rollback()
        raise Unauthorized("The session has ended. Log in again.")
