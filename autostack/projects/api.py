"""The JSON API of projects."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, jsonify, make_response, url_for

from autostack.projects import service
from autostack.projects.access import require_project
from autostack.projects.schemas import ProjectChangesIn, ProjectIn, ProjectOut, ProjectSummaryOut
from autostack.web.access import me, signed_in
from autostack.web.schemas import answer, read_json

api = Blueprint("projects_api", __name__, url_prefix="/api/projects")


@api.get("")
@signed_in
def list_projects() -> Response:
    return jsonify(projects=[ProjectSummaryOut.of(project).as_json() for project in service.projects_of(me())])


@api.post("")
@signed_in
def create() -> Response:
    given = read_json(ProjectIn)
    project = service.create(me(), given.repository, given.changes())
    response = answer(ProjectOut.of(project), 201)
    response.location = url_for("projects_api.show", id=project.id)
    return response


@api.get("/<uuid:id>")
@signed_in
def show(id: uuid.UUID) -> Response:
    return answer(ProjectOut.of(require_project(id)))


@api.patch("/<uuid:id>")
@signed_in
def change(id: uuid.UUID) -> Response:
    project = require_project(id)
    return answer(ProjectOut.of(service.update_project(project, read_json(ProjectChangesIn).changes())))


@api.post("/<uuid:id>/resume")
@signed_in
def resume(id: uuid.UUID) -> Response:
    return answer(ProjectOut.of(service.resume(require_project(id))))


@api.delete("/<uuid:id>")
@signed_in
def delete(id: uuid.UUID) -> Response:
    service.delete_project(require_project(id))
    return make_response("", 204)
