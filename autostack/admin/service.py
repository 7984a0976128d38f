"""What admins do: see every user and deployment, suspend and reactivate users."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import structlog
from sqlalchemy import delete, select

from autostack.accounts import access_tokens
from autostack.accounts.models import Session, User
from autostack.accounts.service import normal_email
from autostack.errors import Conflict, NotFound
from autostack.extensions import db
from autostack.paging import Page, read_page

NEWEST_FIRST = (User.created_at.desc(), User.id)

log = structlog.stdlib.get_logger(__name__)


class UserNotFound(NotFound):
    code = "USER_NOT_FOUND"


class OwnAccount(Conflict):
    code = "OWN_ACCOUNT"


class LastAdmin(Conflict):
    code = "LAST_ADMIN"


class BeingDeleted(Conflict):
    code = "ACCOUNT_BEING_DELETED"


def search_users(*, text: str = "", page: int = 1, limit: int = 10) -> Page[User]:
    """Return a page of all users, newest first: those whose name or address has `text`."""
    found = select(User.id)
    if text:
        found = found.where(User.name.icontains(text, autoescape=True) | User.email.icontains(text, autoescape=True))
    return read_page(found, NEWEST_FIRST, _users, page, limit)


def suspend(admin: User, user_id: uuid.UUID) -> User:
    """Keep a user out: every session and token of theirs is worthless at once; their sites stay.

    Raises UserNotFound, OwnAccount, LastAdmin.
    """
    admins = _held_admins()
    user = _held(user_id)
    if user.id == admin.id:
        db.session.rollback()
        raise OwnAccount("You cannot suspend yourself.")
    # Two admins who suspend each other at once: the second finds the first's word.
    if not admins - {user.id}:
        db.session.rollback()
        raise LastAdmin("The last admin cannot be suspended.")
    _set_active(user, is_active=False)
    log.warning("user suspended", suspended_user_id=str(user_id), by=str(admin.id))
    return user


def reactivate(admin: User, user_id: uuid.UUID) -> User:
    """Let a suspended user sign in again. Raises UserNotFound, BeingDeleted."""
    user = _held(user_id)
    if user.deletion_asked_at is not None:
        db.session.rollback()
        raise BeingDeleted("This account is being deleted: its owner asked for that.")
    if not user.is_active:
        _set_active(user, is_active=True)
        log.warning("user reactivated", reactivated_user_id=str(user_id), by=str(admin.id))
    db.session.commit()
    return user


def appoint(email: str, *, is_superuser: bool) -> User:
    """Make a user an admin, or an admin a user. Raises UserNotFound."""
    user: User | None = db.session.scalar(select(User).where(User.email == normal_email(email)).with_for_update())
    if user is None:
        raise UserNotFound(f"Nobody has an account with the address {email}")
    user.is_superuser = is_superuser
    db.session.commit()
    log.warning("admin appointed" if is_superuser else "admin dismissed", user_id=str(user.id))
    return user


def everyone() -> Iterator[User]:
    """Return all users by their addresses, admins first."""
    found = select(User).order_by(User.is_superuser.desc(), User.email).execution_options(yield_per=500)
    return iter(db.session.scalars(found))


def _users(ids: Sequence[uuid.UUID]) -> list[User]:
    return list(db.session.scalars(select(User).where(User.id.in_(ids)).order_by(*NEWEST_FIRST)))


def _set_active(user: User, *, is_active: bool) -> None:
    user.is_active = is_active
    # Also as they come back: a log-in that met the suspension may have left one.
    db.session.execute(delete(Session).where(Session.user_id == user.id))
    access_tokens.revoke_all(user.id)
    db.session.commit()


def _held_admins() -> set[uuid.UUID]:
    """Lock the active admins' rows, always in one order, and return their ids."""
    held = select(User.id).where(User.is_superuser, User.is_active).order_by(User.id).with_for_update()
    return set(db.session.scalars(held))


def _held(user_id: uuid.UUID) -> User:
    query = select(User).where(User.id == user_id).with_for_update(of=User).execution_options(populate_existing=True)
    user: User | None = db.session.scalar(query)
    if user is None:
        db.session.rollback()
        raise UserNotFound(f"User with ID '{user_id}' not found")
    return user
