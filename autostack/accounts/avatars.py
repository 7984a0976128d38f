"""Users' pictures. What is uploaded is never served: it is drawn anew, small and square."""

from __future__ import annotations

import uuid

import structlog
from sqlalchemy import delete, select

from autostack import pictures
from autostack.accounts.models import Avatar, User
from autostack.errors import Invalid, NotFound
from autostack.extensions import db

log = structlog.stdlib.get_logger(__name__)

MAX_BYTES = 5_000_000
SIDE_PIXELS = 256
MEDIA_TYPE = pictures.MEDIA_TYPE


class TooLarge(Invalid):
    """More bytes than a picture may have."""

    def __init__(self) -> None:
        problem = f"The picture has more than {MAX_BYTES // 1_000_000} MB."
        super().__init__(problem, {"avatar": problem})


class AvatarNotFound(NotFound):
    code = "AVATAR_NOT_FOUND"


def replace(user: User, data: bytes) -> None:
    """Make an uploaded file a user's picture. Raises Invalid."""
    drawn = draw(data)
    # By an address of its own: whoever keeps the former one's content is not shown it for this one.
    avatar = Avatar(id=uuid.uuid4(), user_id=user.id, data=drawn)
    _forget(user)
    db.session.add(avatar)
    user.avatar_url = avatar.path
    db.session.commit()
    log.info("picture changed", user_id=str(user.id))


def remove(user: User) -> None:
    """Have a user shown by the first letter of the name again."""
    _forget(user)
    user.avatar_url = None
    db.session.commit()


def picture(id: uuid.UUID) -> bytes:
    """Return a picture, of the type MEDIA_TYPE. Raises AvatarNotFound."""
    found = db.session.scalar(select(Avatar.data).where(Avatar.id == id))
    if found is None:
        raise AvatarNotFound("There is no such picture.")
    return bytes(found)


def draw(data: bytes) -> bytes:
    """Return an uploaded picture as it is shown: square, small, upright. Raises Invalid."""
    if not data:
        raise Invalid.field("avatar", "Choose a picture first.")
    if len(data) > MAX_BYTES:
        raise TooLarge
    try:
        return pictures.drawn(data, (SIDE_PIXELS, SIDE_PIXELS))
    except pictures.Refused as refused:
        raise Invalid.field("avatar", str(refused)) from None


def _forget(user: User) -> None:
    # The user's row first, so that of two uploads at once one comes after the other.
    db.session.execute(select(User.id).where(User.id == user.id).with_for_update())
    db.session.execute(delete(Avatar).where(Avatar.user_id == user.id))
