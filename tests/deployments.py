"""Deployments as rows, for tests of what is counted and listed: no build is needed for those."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db
from autostack.projects.models import Project
from tests.people import Person


def a_project(owner: Person, name: str, repository: str | None = None) -> uuid.UUID:
    """Store a project. Needs an application context."""
    address = repository or f"https://git.example.com/{owner.name.lower()}/{name}"
    id = uuid.uuid4()
    project = Project(
        id=id, user_id=owner.id, name=name, label=f"{name}-{id.hex[:8]}", repository=address, repository_key=address
    )
    db.session.add(project)
    db.session.commit()
    return id


def a_deployment(
    owner: Person,
    project_id: uuid.UUID,
    created_at: datetime,
    status: Status = Status.SUCCESS,
    took_s: int | None = None,
) -> uuid.UUID:
    """Store a deployment. Needs an application context."""
    id = uuid.uuid4()
    facts: dict[str, Any] = {"created_at": created_at, "status": status, "build_duration": took_s, "branch": "main"}
    db.session.add(Deployment(id=id, project_id=project_id, user_id=owner.id, label=f"d-{id.hex}", **facts))
    db.session.commit()
    return id
