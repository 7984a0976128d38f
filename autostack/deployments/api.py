"""The JSON API of deployments."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, request, stream_with_context

from autostack import cache
from autostack.accounts.models import User
from autostack.deployments import changes, idempotency, logs, schemas, service
from autostack.deployments.access import require_deployment
from autostack.deployments.changes import FilesNotFound
from autostack.deployments.idempotency import KeyInUse, KeyReused
from autostack.deployments.models import Deployment
from autostack.deployments.schemas import (
    ChangesOut,
    DeploymentIn,
    DeploymentOut,
    DeploymentsOut,
    LogsIn,
    LogsOut,
    RecentDeploymentsOut,
    RepeatableIn,
    SearchIn,
)
from autostack.deployments.service import DeploymentEnded, DeploymentLive, DeploymentNotFound, DeploymentNotReady
from autostack.deployments.status import Trigger
from autostack.errors import Invalid
from autostack.github.client import GitHubBusy, GitHubUnavailable
from autostack.projects import service as projects
from autostack.projects.service import ProjectNotFound
from autostack.web.access import me, my_id, signed_in
from autostack.web.operations import operation
from autostack.web.rate_limits import limit_deployments
from autostack.web.schemas import answer_json

api = Blueprint("deployments_api", __name__, url_prefix="/api/deployments")


@api.get("")
@signed_in
@operation()
def list_deployments(query: SearchIn) -> DeploymentsOut | Response:
    """List your deployments, newest first.

    `search` looks into the project's name and repository; `building` is whatever has not ended.
    """

    def find() -> DeploymentsOut:
        found = service.search(me(), text=query.search, status=query.status, page=query.page, limit=query.limit)
        return DeploymentsOut.of(found)

    if query.search or query.page > 1:
        return find()
    # What scripts ask again and again, to see whether something has changed.
    return answer_json(cache.recall_json(DeploymentsOut, my_id(), find, f"{query.status}:{query.limit}"))


@api.get("/recent")
@signed_in
@operation()
def recent() -> RecentDeploymentsOut:
    """List your newest deployments.

    At most a minute old, but for what you deploy, change or delete: that shows at once.
    """
    return recent_of(me())


@api.post("")
@signed_in
@limit_deployments
@operation(
    status=201,
    location="deployments_api.show",
    raises=[Invalid, ProjectNotFound, KeyInUse, KeyReused, GitHubUnavailable, GitHubBusy],
)
def create(body: DeploymentIn, headers: RepeatableIn) -> DeploymentOut:
    """Deploy.

    Names a project by `projectId`, or a `repository`: a Git URL, GitHub's `owner/name`, or the name of one of your
    projects, or else of your repositories at GitHub. A repository without a project gets one. Settings that are given
    are kept for the project.

    With an `Idempotency-Key` of your making (a new UUID, say) the request can safely be repeated for a day: the same
    key and body get the same answer, and deploy once.
    """
    if headers.idempotency_key is None:
        return schemas.detail(start(body, Trigger.API))
    answer = idempotency.once(
        me(),
        headers.idempotency_key,
        body.model_dump_json(exclude_unset=True),
        lambda claim: start(body, Trigger.API, claim),
        lambda deployment: schemas.detail(deployment).as_json(),
    )
    return DeploymentOut.model_validate(answer)


@api.get("/<uuid:id>")
@signed_in
@operation(raises=[DeploymentNotFound])
def show(id: uuid.UUID) -> DeploymentOut:
    """Show a deployment, with the end of its log."""
    return schemas.detail(require_deployment(id))


@api.delete("/<uuid:id>")
@signed_in
@operation(raises=[DeploymentNotFound, DeploymentLive])
def delete(id: uuid.UUID) -> None:
    """Delete a deployment.

    One that is being built is cancelled. The one that production shows cannot be deleted.
    """
    service.delete(require_deployment(id))


@api.post("/<uuid:id>/cancel")
@signed_in
@operation(raises=[DeploymentNotFound, DeploymentEnded])
def cancel(id: uuid.UUID) -> DeploymentOut:
    """Cancel a deployment that has not ended."""
    return schemas.detail(service.cancel(require_deployment(id)))


@api.post("/<uuid:id>/redeploy")
@signed_in
@limit_deployments
@operation(status=201, location="deployments_api.show", raises=[DeploymentNotFound])
def redeploy(id: uuid.UUID) -> DeploymentOut:
    """Deploy the same commit again, with the project's settings of now."""
    return schemas.detail(service.redeploy(require_deployment(id), me()))


@api.post("/<uuid:id>/promote")
@signed_in
@operation(raises=[DeploymentNotFound, DeploymentNotReady])
def promote(id: uuid.UUID) -> DeploymentOut:
    """Have production show this deployment.

    One older than what is live is a roll-back: new deployments then don't go live until the project is resumed.
    """
    return schemas.detail(service.promote(require_deployment(id)))


@api.get("/<uuid:id>/changes")
@signed_in
@operation(raises=[DeploymentNotFound, DeploymentNotReady, FilesNotFound])
def show_changes(id: uuid.UUID) -> ChangesOut:
    """Show what a deployment changed.

    Its files are compared with those of the last one of the same project and branch that succeeded before; `previousId`
    is null for the first. At most 500 files are named; the counts and bytes are of all.
    """
    return ChangesOut.of(changes.since_previous(require_deployment(id)))


@api.get("/<uuid:id>/logs")
@signed_in
@operation(raises=[DeploymentNotFound], media_types=["text/plain"])
def show_logs(id: uuid.UUID, query: LogsIn) -> LogsOut | Response:
    """Read a log.

    Lines after the one numbered `after`; go on with `nextAfter`. With `Accept: text/plain`, all of it as a file.
    Live, it is at the websocket `/api/deployments/{id}/logs/stream`.
    """
    deployment = require_deployment(id)
    if request.accept_mimetypes.best_match(["application/json", "text/plain"]) == "text/plain":
        return as_download(deployment)
    return LogsOut.of(logs.page(deployment.id, query.after, query.limit), query.after)


def start(given: DeploymentIn, trigger: Trigger, claim: uuid.UUID | None = None) -> Deployment:
    """Ask for the deployment that a request describes, on a page or through the API."""
    wanted = given.changes()
    if given.project_id is not None:
        project = projects.project_of(me(), given.project_id)
        return service.request(me(), projects.update_project(project, wanted), trigger, claim)
    if given.repository is None:
        raise Invalid.field("repository", "Give the repository, or a project's id.")
    return service.request_from(me(), given.repository, given.root_dir, wanted, trigger, claim)


def recent_of(user: User) -> RecentDeploymentsOut:
    """Return a user's newest deployments as the dashboard shows them, on its page or through the API."""

    def make() -> RecentDeploymentsOut:
        return RecentDeploymentsOut(recent_deployments=schemas.summaries(service.recent_deployments(user)))

    return cache.recall(RecentDeploymentsOut, user.id, make)


def as_download(deployment: Deployment) -> Response:
    """Return the whole log as a text file, streamed."""
    response = Response(stream_with_context(logs.as_text(deployment.id)), mimetype="text/plain")
    response.headers["Content-Disposition"] = f'attachment; filename="{deployment.label}.log"'
    return response
