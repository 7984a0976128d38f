"""What takes a while is checked once more at its end, with the account held: its sessions may have been ended."""

from __future__ import annotations

import uuid

from sqlalchemy import select

from autostack.accounts.models import Session, User
from autostack.errors import Unauthorized
from autostack.extensions import db


def hold(user_id: uuid.UUID, session_id: uuid.UUID) -> None:
    """Hold a user's row until the transaction ends. Raises Unauthorized if the session has ended.

    Whatever ends all of a user's sessions (a reset, a change of password, a suspension) comes before or after.
    """
    db.session.execute(select(User.id).where(User.id == user_id).with_for_update())
    if db.session.scalar(select(Session.id).where(Session.id == session_id)) is None:
        db.session.rollback()
        raise Unauthorized("The session has ended. Log in again.")
