"""The JSON API of deployments."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, jsonify, make_response, request, stream_with_context, url_for

from autostack.deployments import logs, schemas, service
from autostack.deployments.access import require_deployment
from autostack.deployments.models import Deployment
from autostack.deployments.schemas import DeploymentIn, LogLineOut, LogsIn, PaginationOut, SearchIn
from autostack.deployments.status import Trigger
from autostack.errors import Invalid
from autostack.projects import service as projects
from autostack.web.access import me, signed_in
from autostack.web.rate_limits import limit_deployments
from autostack.web.schemas import answer, read_json

api = Blueprint("deployments_api", __name__, url_prefix="/api/deployments")


@api.get("")
@signed_in
def list_deployments() -> Response:
    query = SearchIn.parse(request.args)
    page = service.search(me(), text=query.search, status=query.status, page=query.page, limit=query.limit)
    return jsonify(deployments=schemas.summaries(page.items), pagination=PaginationOut.of(page).as_json())


@api.get("/recent")
@signed_in
def recent() -> Response:
    return jsonify(recentDeployments=schemas.summaries(service.recent_deployments(me())))


@api.post("")
@signed_in
@limit_deployments
def create() -> Response:
    return _created(start(read_json(DeploymentIn), Trigger.API))


@api.get("/<uuid:id>")
@signed_in
def show(id: uuid.UUID) -> Response:
    return answer(schemas.detail(require_deployment(id)))


@api.delete("/<uuid:id>")
@signed_in
def delete(id: uuid.UUID) -> Response:
    service.delete(require_deployment(id))
    return make_response("", 204)


@api.post("/<uuid:id>/cancel")
@signed_in
def cancel(id: uuid.UUID) -> Response:
    return answer(schemas.detail(service.cancel(require_deployment(id))))


@api.post("/<uuid:id>/redeploy")
@signed_in
@limit_deployments
def redeploy(id: uuid.UUID) -> Response:
    return _created(service.redeploy(require_deployment(id), me()))


@api.post("/<uuid:id>/promote")
@signed_in
def promote(id: uuid.UUID) -> Response:
    return answer(schemas.detail(service.promote(require_deployment(id))))


@api.get("/<uuid:id>/logs")
@signed_in
def show_logs(id: uuid.UUID) -> Response:
    deployment = require_deployment(id)
    if request.accept_mimetypes.best_match(["application/json", "text/plain"]) == "text/plain":
        return as_download(deployment)
    query = LogsIn.parse(request.args)
    lines = logs.page(deployment.id, query.after, query.limit)
    next_after = lines[-1].seq if lines else query.after
    return jsonify(logs=[LogLineOut.of(line).as_json() for line in lines], nextAfter=next_after)


def start(given: DeploymentIn, trigger: Trigger) -> Deployment:
    """Ask for the deployment that a request describes, on a page or through the API."""
    changes = given.changes()
    if given.project_id is not None:
        project = projects.project_of(me(), given.project_id)
        return service.request(me(), projects.update_project(project, changes), trigger)
    if given.repository is None:
        raise Invalid.field("repository", "Give the repository, or a project's id.")
    return service.request_from(me(), given.repository, given.root_dir, changes, trigger)


def as_download(deployment: Deployment) -> Response:
    """Return the whole log as a text file, streamed."""
    response = Response(stream_with_context(logs.as_text(deployment.id)), mimetype="text/plain")
    response.headers["Content-Disposition"] = f'attachment; filename="{deployment.label}.log"'
    return response


def _created(deployment: Deployment) -> Response:
    response = answer(schemas.detail(deployment), 201)
    response.location = url_for("deployments_api.show", id=deployment.id)
    return response
