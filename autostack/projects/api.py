"""The JSON API of projects."""

from __future__ import annotations

import uuid

from flask import Blueprint

from autostack.errors import Invalid
from autostack.projects import service
from autostack.projects.access import require_project
from autostack.projects.schemas import ProjectChangesIn, ProjectIn, ProjectOut, ProjectsIn, ProjectsOut
from autostack.projects.service import ProjectNameTaken, ProjectNotFound
from autostack.web.access import me, signed_in
from autostack.web.operations import operation

api = Blueprint("projects_api", __name__, url_prefix="/api/projects")


@api.get("")
@signed_in
@operation()
def list_projects(query: ProjectsIn) -> ProjectsOut:
    """List your projects, newest first.

    `search` looks into their names and repositories.
    """
    return ProjectsOut.of(service.search(me(), text=query.search, page=query.page, limit=query.limit))


@api.post("")
@signed_in
@operation(status=201, location="projects_api.show", raises=[ProjectNameTaken, Invalid])
def create(body: ProjectIn) -> ProjectOut:
    """Make a project.

    Its repository is reached for at once; nothing is deployed yet.
    """
    return ProjectOut.of(service.create(me(), body.repository, body.changes()))


@api.get("/<uuid:id>")
@signed_in
@operation(raises=[ProjectNotFound])
def show(id: uuid.UUID) -> ProjectOut:
    """Show a project.

    The values of its variables are only hinted at.
    """
    return ProjectOut.of(require_project(id))


@api.patch("/<uuid:id>")
@signed_in
@operation(raises=[ProjectNotFound, ProjectNameTaken])
def change(id: uuid.UUID, body: ProjectChangesIn) -> ProjectOut:
    """Change a project.

    What is absent stays as it is; null has it detected. It counts from the next deployment on.
    """
    return ProjectOut.of(service.update_project(require_project(id), body.changes()))


@api.post("/<uuid:id>/resume")
@signed_in
@operation(raises=[ProjectNotFound])
def resume(id: uuid.UUID) -> ProjectOut:
    """Have new deployments go live again, after a roll-back."""
    return ProjectOut.of(service.resume(require_project(id)))


@api.delete("/<uuid:id>")
@signed_in
@operation(raises=[ProjectNotFound])
def delete(id: uuid.UUID) -> None:
    """Delete a project, with all its deployments and its site."""
    service.delete_project(require_project(id))
