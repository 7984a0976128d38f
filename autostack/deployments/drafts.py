"""Drafts: what somebody has chosen and typed so far on their way to a deployment, a row for each way.

A row, and no session or Redis: it is there after a reload, a restart or a flush, and two tabs never mix.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select

from autostack.accounts.models import User
from autostack.deployments.models import DeploymentDraft
from autostack.encryption import Cipher
from autostack.errors import Invalid, NotFound
from autostack.extensions import db, settings
from autostack.projects.environment import MAX_BYTES, MAX_VARIABLES, parse_dotenv

KEPT = timedelta(days=7)
MAX_DRAFTS = 20
FIELDS = ("branch", "rootDir", "installCommand", "buildCommand", "outputDir", "nodeVersion")
# Longer than any value that is right: what is typed is kept before it is checked.
MAX_TYPED_CHARACTERS = 4_000


class DraftNotFound(NotFound):
    code = "DRAFT_NOT_FOUND"


@dataclass(frozen=True)
class Row:
    """A row of the table of variables. Its id is stable, so that a value stays with the row that it was typed in."""

    id: str
    name: str
    value: str

    def __repr__(self) -> str:
        return f"Row({self.id})"


@dataclass(frozen=True)
class Typed:
    """What a form says. A row whose value is empty keeps the one that it has; `pasted` is `.env` text.

    `shown` are the ids of the rows that its page was rendered with: one that it never knew is not its to remove.
    """

    form: Mapping[str, str]
    rows: Sequence[Row]
    pasted: str = ""
    shown: frozenset[str] = frozenset()


def draft_of(user: User, id: uuid.UUID, *, held: bool = False) -> DeploymentDraft:
    """Return one draft of the user; `held` until the transaction ends, for a change.

    Raises DraftNotFound for another's as for none.
    """
    mine = select(DeploymentDraft).where(DeploymentDraft.id == id, DeploymentDraft.user_id == user.id)
    mine = mine.where(DeploymentDraft.updated_at > datetime.now(UTC) - KEPT)
    if held:
        mine = mine.with_for_update().execution_options(populate_existing=True)
    found: DeploymentDraft | None = db.session.scalar(mine)
    if found is None:
        raise DraftNotFound("This draft is gone: drafts are kept for a week. Begin a new deployment.")
    return found


def keep(user: User, draft: DeploymentDraft | None, columns: Mapping[str, Any]) -> DeploymentDraft:
    """Write `columns` to the draft, or to a new one. Commits. Of a user's drafts, the oldest beyond a limit go."""
    if draft is None:
        draft = DeploymentDraft(id=uuid.uuid4(), user_id=user.id)
        db.session.add(draft)
    for column, value in columns.items():
        setattr(draft, column, value)
    db.session.flush()
    newest = select(DeploymentDraft.id).where(DeploymentDraft.user_id == draft.user_id)
    newest = newest.order_by(DeploymentDraft.updated_at.desc(), DeploymentDraft.id).limit(MAX_DRAFTS)
    others = (DeploymentDraft.user_id == draft.user_id) & (DeploymentDraft.id != draft.id)
    db.session.execute(delete(DeploymentDraft).where(others, DeploymentDraft.id.not_in(newest)))
    db.session.commit()
    return draft


def write(draft: DeploymentDraft, typed: Typed) -> None:
    """Keep what was typed, right or wrong. Commits. Raises Invalid for what is too much, or no `.env` text."""
    if any("\0" in text or len(text) > MAX_TYPED_CHARACTERS for text in typed.form.values()):
        raise Invalid.field("form", "A field has too many characters, or one that nobody can type.")
    rows = _merged(rows_of(draft), typed)
    try:
        rows, problem = _with_pasted(rows, typed.pasted), None
    except ValueError as error:
        problem = Invalid.field("pasted", f"{str(error)[:1].upper()}{str(error)[1:]}.")
    draft.form = {name: typed.form.get(name, "").strip() for name in FIELDS}
    if len(rows) > MAX_VARIABLES or sum(len(row.name) + len(row.value.encode()) for row in rows) > MAX_BYTES:
        problem = Invalid.field("envVars", f"At most {MAX_VARIABLES} variables, of {MAX_BYTES // 1000} kB in all.")
    else:
        draft.variables = encrypted(rows)
    db.session.commit()
    if problem:
        raise problem


def remove_row(draft: DeploymentDraft, id: str) -> None:
    """Take a row out of the table of variables. Commits."""
    draft.variables = encrypted([row for row in rows_of(draft) if row.id != id])
    db.session.commit()


def rows_of(draft: DeploymentDraft) -> list[Row]:
    """Return the rows with their values in the clear: for deployments, never for answers."""
    if draft.variables is None:
        return []
    return [Row(**row) for row in json.loads(Cipher.of(settings()).decrypt(draft.variables))]


def as_rows(variables: Mapping[str, str]) -> list[Row]:
    return [Row(_row_id(), name, value) for name, value in sorted(variables.items())]


def encrypted(rows: Sequence[Row]) -> str | None:
    return Cipher.of(settings()).encrypt(json.dumps([asdict(row) for row in rows])) if rows else None


def forget_old() -> None:
    """Delete the drafts that nobody has touched for long."""
    db.session.execute(delete(DeploymentDraft).where(DeploymentDraft.updated_at < datetime.now(UTC) - KEPT))
    db.session.commit()


def _merged(stored: Sequence[Row], typed: Typed) -> list[Row]:
    """Return the rows that another tab added, then those typed, with the stored values that were not typed over."""
    values = {row.id: row.value for row in stored}
    seen = typed.shown | {row.id for row in typed.rows}
    merged = [row for row in stored if row.id not in seen]
    for row in typed.rows:
        if row.id and row.id not in values and not row.value:
            # Another tab removed it: its value is gone, and must not become an empty one.
            continue
        if row.name or row.value or row.id in values:
            merged.append(Row(row.id if row.id in values else _row_id(), row.name, row.value or values.get(row.id, "")))
    return merged


def _with_pasted(rows: list[Row], text: str) -> list[Row]:
    """Return the rows with those of `.env` text, which win. Raises ValueError."""
    variables = parse_dotenv(text)
    kept = [row for row in rows if row.name not in variables]
    return [*kept, *(Row(_row_id(), name, value) for name, value in variables.items())]


def _row_id() -> str:
    return uuid.uuid4().hex
