"""Folders of the object store whose project nobody knows any more.

A project's folder is removed with its rows; what is uploaded to it even later belongs to no project, and collections go
from project to project. An operator has such folders removed: a database that was restored from a backup does not know
its latest projects either, so that nothing does this by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from autostack.deployments.garbage import Freed
from autostack.extensions import db, settings, store
from autostack.hiding import table_of
from autostack.projects import removals
from autostack.projects.models import Project
from autostack.sites import keys

ASKED_AT_ONCE = 1_000


def find() -> dict[str, Freed]:
    """Return these folders, with what they hold; none in which something is younger than GC_MIN_AGE."""
    before = datetime.now(UTC) - timedelta(seconds=settings().gc_min_age_s)
    ids = [id for id in map(_project_of, store().folders(keys.PROJECTS)) if id is not None]
    planned = set(removals.planned())
    found = {}
    for folder in map(keys.project, map(str, _unknown(ids))):
        objects = store().objects(folder)
        if folder not in planned and objects and all(one.modified < before for one in objects):
            found[folder] = Freed(len(objects), sum(one.size for one in objects))
    return found


def remove(folders: Iterable[str]) -> None:
    """Have folders removed by a worker. Commits."""
    for folder in folders:
        removals.plan(folder)
    db.session.commit()
    removals.tell_queue()


def _unknown(ids: list[uuid.UUID]) -> Iterator[uuid.UUID]:
    # Rows of deleted projects count: their folders are removed with them.
    projects = table_of(Project)
    for first in range(0, len(ids), ASKED_AT_ONCE):
        asked = ids[first : first + ASKED_AT_ONCE]
        known = set(db.session.scalars(select(projects.c.id).where(projects.c.id.in_(asked))))
        db.session.commit()
        yield from (id for id in asked if id not in known)


def _project_of(folder: str) -> uuid.UUID | None:
    name = folder.rpartition("/")[2]
    return uuid.UUID(name) if keys.is_id(name) else None
