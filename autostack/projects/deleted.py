"""Deleted projects. Marking one is all that its owner waits for; a job takes its rows away, a batch at a time.

A project may have millions of log lines: one DELETE of them all would outlast every time limit, and begin anew for
ever. A deployment that is deleted by itself is set apart, in a deleted project of its own: so there is one mark, and
one way.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Select, delete, func, select, text, update

from autostack.builds import left_over
from autostack.database import delete_some
from autostack.deployments.models import Deployment, DeploymentLog
from autostack.domains.models import Domain
from autostack.extensions import db
from autostack.hiding import table_of
from autostack.projects.models import Project
from autostack.queue import CONTROL, enqueue_once

JOB = "autostack.deployments.jobs.remove_deleted"
# A batch takes some tenths of a second; after so many, other jobs have their turn.
LINES, DEPLOYMENTS, BATCHES = 10_000, 100, 50

_projects, _deployments, _lines = table_of(Project), table_of(Deployment), table_of(DeploymentLog)


def mark(project_id: uuid.UUID) -> None:
    """Delete a project, for every query: its name, hosts, domains and repository are free again. The caller commits."""
    db.session.execute(delete(Domain).where(Domain.project_id == project_id))
    db.session.execute(update(_projects).where(_projects.c.id == project_id).values(_nameless(project_id)))


def set_apart(deployment: Deployment) -> None:
    """Delete one deployment, for every query. The caller holds its project, and commits."""
    apart = uuid.uuid4()
    owner = {"id": apart, "user_id": deployment.user_id, "repository": ""}
    db.session.execute(_projects.insert().values(**owner, **_nameless(apart)))
    moved = update(_deployments).where(_deployments.c.id == deployment.id)
    db.session.execute(moved.values(project_id=apart))


def tell_queue() -> None:
    """Have a worker take away what is deleted. If Redis does not take it, or forgets it, the sweep tells it again."""
    enqueue_once(CONTROL, JOB)


def are_overdue() -> bool:
    """Tell whether something is still there that a worker was told of a while ago."""
    a_while_ago = func.now() - text("interval '10 seconds'")
    return db.session.scalar(_marked().where(_projects.c.deleted_at < a_while_ago).limit(1)) is not None


def is_left_of(user_id: uuid.UUID) -> bool:
    """Tell whether deleted projects of a user are still there."""
    return db.session.scalar(_marked(user_id).limit(1)) is not None


def remove_some(user_id: uuid.UUID | None = None) -> bool:
    """Take away the first batches of what is deleted, a user's or everybody's; commit each.

    True if nothing is left, or what is left is another's who is at it.
    """
    for _ in range(BATCHES):
        oldest = _marked(user_id).order_by(_projects.c.deleted_at).limit(1)
        # Held: of lines that another takes at the same time one would think that there are no more.
        project_id = db.session.scalar(oldest.with_for_update(skip_locked=True))
        if project_id is None:
            return True
        _remove_batch(project_id)
        db.session.commit()
    return False


def _remove_batch(project_id: uuid.UUID) -> None:
    """Delete lines of some deployments; if there are no more, those deployments; if there are none, the project."""
    of_project = select(_deployments.c.id).where(_deployments.c.project_id == project_id)
    ids = db.session.scalars(of_project.order_by(_deployments.c.sequence).limit(DEPLOYMENTS)).all()
    if not ids:
        db.session.execute(delete(_projects).where(_projects.c.id == project_id))
    elif delete_some(_lines, _lines.c.deployment_id.in_(ids), LINES) < LINES:
        left_over.take_attempts(ids)
        db.session.execute(delete(_deployments).where(_deployments.c.id.in_(ids)))


def _marked(user_id: uuid.UUID | None = None) -> Select[uuid.UUID]:
    found = select(_projects.c.id).where(_projects.c.deleted_at.is_not(None))
    return found if user_id is None else found.where(_projects.c.user_id == user_id)


def _nameless(id: uuid.UUID) -> dict[str, object]:
    return {"name": str(id), "label": str(id), "repository_key": "", "env_vars": None, "deleted_at": func.now()}
