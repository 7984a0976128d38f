"""Changing the keys that secrets are stored under, while everything runs."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import select, update
from sqlalchemy.orm import InstrumentedAttribute

from autostack.accounts.models import GitHubConnection, TokenRevocation
from autostack.deployments.models import Deployment, DeploymentDraft
from autostack.encryption import Cipher
from autostack.extensions import db, rowcount, settings
from autostack.projects.models import Project

log = structlog.stdlib.get_logger(__name__)

ENCRYPTED: tuple[InstrumentedAttribute[Any], ...] = (
    Project.env_vars,
    Deployment.env_vars,
    DeploymentDraft.variables,
    GitHubConnection.github_access_token,
    GitHubConnection.github_refresh_token,
    TokenRevocation.access_token,
)
PAGE_ROWS = 1000


class _Outcome(Enum):
    ROTATED = auto()
    CURRENT = auto()
    UNREADABLE = auto()


@dataclass(frozen=True)
class Rotation:
    """How many stored secrets were encrypted anew, were under the first key already, and fit no key."""

    rotated: int
    current: int
    unreadable: int


def rotate() -> Rotation:
    """Encrypt everything that is under another key under the first of ENCRYPTION_KEYS."""
    cipher = Cipher.of(settings())
    outcomes = Counter(_rotate(cipher, column, id) for column in ENCRYPTED for id in _rows_of(column))
    log.info("keys rotated", **{outcome.name.lower(): outcomes[outcome] for outcome in _Outcome})
    return Rotation(*(outcomes[outcome] for outcome in _Outcome))


def _rows_of(column: InstrumentedAttribute[Any]) -> Iterator[uuid.UUID]:
    """Yield the ids of the rows in which there is something to encrypt."""
    id_of = column.class_.id
    page = select(id_of).where(column.is_not(None)).order_by(id_of).limit(PAGE_ROWS)
    ids = db.session.scalars(page).all()
    while ids:
        yield from ids
        ids = db.session.scalars(page.where(id_of > ids[-1])).all()


def _rotate(cipher: Cipher, column: InstrumentedAttribute[Any], id: uuid.UUID) -> _Outcome:
    model = column.class_
    while True:
        stored = db.session.scalar(select(column).where(model.id == id))
        if stored is None or cipher.is_current(stored):
            return _Outcome.CURRENT
        try:
            anew = cipher.rotate(stored)
        except InvalidToken:
            return _Outcome.UNREADABLE
        # Its owner may be writing it just now: nothing newer is written over.
        unchanged = update(model).where(model.id == id, column == stored)
        written = rowcount(db.session.execute(unchanged.values({column.key: anew, **_as_they_are(model)})))
        db.session.commit()
        if written:
            return _Outcome.ROTATED


def _as_they_are(model: Any) -> dict[str, Any]:
    """Return what an update would change by itself, unchanged: to an owner, nothing has happened."""
    return {name: column for name, column in model.__table__.columns.items() if column.onupdate is not None}
