"""The pages of deployments."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.deployments import changes, hosts, log_pages, service
from autostack.deployments.access import require_deployment
from autostack.deployments.models import Deployment
from autostack.deployments.schemas import BrowseMineIn
from autostack.deployments.status import Status, Trigger
from autostack.errors import Invalid
from autostack.extensions import settings
from autostack.projects import service as projects
from autostack.projects.access import require_project
from autostack.web.access import me, signed_in
from autostack.web.htmx import is_htmx
from autostack.web.rate_limits import limit_deployments, limit_downloads, limit_searches
from autostack.web.redirects import see_other

pages = Blueprint("deployments", __name__)


@pages.get("/deployments")
@signed_in
def index() -> Response:
    query = BrowseMineIn.parse(request.args)
    shown = service.browse(me(), **query.wanted())
    on_top = query.new if query.before is None and query.after is None else None
    listed = service.led_by(shown.items, me(), on_top) if on_top else shown.items
    addresses, live = hosts.addresses(listed), hosts.live_among(listed)
    version = _version(listed, addresses, live, shown.newer, shown.older)
    if is_htmx() and query.seen == version:
        return make_response("", 204)
    page = render_template(
        "deployments/_rows.html" if is_htmx() else "deployments/list.html",
        deployments=listed,
        addresses=addresses,
        live=live,
        newer=shown.newer,
        older=shown.older,
        filters=query.filters(),
        project=projects.project_of(me(), query.project) if query.project else None,
        new_id=on_top,
        version=version,
        here=query.model_dump(exclude_defaults=True, exclude={"seen"}),
    )
    response = make_response(page)
    response.vary.add("HX-Request")
    return response


@pages.post("/projects/<uuid:id>/deploy", endpoint="deploy_project")
@signed_in
@limit_deployments
def deploy_project(id: uuid.UUID) -> Response:
    return _started(service.request(me(), require_project(id), Trigger.DASHBOARD))


@pages.get("/deployments/<uuid:id>")
@signed_in
@limit_searches
def detail(id: uuid.UUID) -> str:
    deployment = require_deployment(id)
    return render_template("deployments/detail.html", **_context(deployment), **log_pages.context(deployment))


@pages.get("/deployments/<uuid:id>/_header")
@signed_in
def header(id: uuid.UUID) -> str:
    return render_template("deployments/_header.html", **_context(require_deployment(id)))


@pages.get("/deployments/<uuid:id>/changes", endpoint="changes")
@signed_in
@limit_downloads
def show_changes(id: uuid.UUID) -> Response:
    deployment = require_deployment(id)
    try:
        since = changes.since_previous(deployment)
    except changes.FilesNotFound:
        since = None
    name = "deployments/_changes.html" if is_htmx() else "deployments/changes.html"
    response = make_response(render_template(name, deployment=deployment, since=since))
    response.vary.add("HX-Request")
    return response


@pages.post("/deployments/<uuid:id>/cancel")
@signed_in
def cancel(id: uuid.UUID) -> Response:
    service.cancel(require_deployment(id))
    return _done("The deployment is cancelled.", url_for("deployments.detail", id=id))


@pages.post("/deployments/<uuid:id>/redeploy")
@signed_in
@limit_deployments
def redeploy(id: uuid.UUID) -> Response:
    return _started(service.redeploy(require_deployment(id), me()))


@pages.post("/deployments/<uuid:id>/promote")
@signed_in
def promote(id: uuid.UUID) -> Response:
    deployment = service.promote(require_deployment(id))
    return _done(f"{deployment.project.name} shows this deployment now.", url_for("deployments.detail", id=id))


@pages.post("/deployments/<uuid:id>/delete")
@signed_in
def delete(id: uuid.UUID) -> Response:
    deployment = require_deployment(id)
    if request.form.get("confirm") != deployment.project.name:
        raise Invalid.field("confirm", "Type the project's name to delete the deployment.")
    service.delete(deployment)
    return _done("The deployment is deleted.", url_for("deployments.index"))


def _done(message: str, next_page: str) -> Response:
    """Say that it is done: on the list that asked by HTMX, which then looks what changed, else on the next page."""
    if not is_htmx():
        flash(message, "success")
        return see_other(next_page)
    response = make_response("", 204)
    told = {"toast": {"message": message, "category": "success"}, "deployments-changed": {}}
    response.headers["HX-Trigger"] = json.dumps(told)
    return response


def _started(deployment: Deployment) -> Response:
    flash(f"{deployment.project.name} is on its way.", "success")
    return see_other(url_for("deployments.detail", id=deployment.id))


def _version(listed: Sequence[Deployment], *others: object) -> str:
    """Return what is another text whenever a list shows something else."""
    rows = [
        (row.id, row.project.name, row.status, row.reason, row.commit_hash, row.build_duration, row.started_at)
        for row in listed
    ]
    return hashlib.sha256(repr((rows, others)).encode()).hexdigest()[:16]


def _context(deployment: Deployment) -> dict[str, Any]:
    succeeded = deployment.state is Status.SUCCESS
    return {
        "deployment": deployment,
        "stages": deployment.stages,
        "url": hosts.addresses([deployment]).get(deployment.id) if succeeded else None,
        "immutable_url": settings().site_url(deployment.label),
        "is_live": hosts.live_on(deployment.project.label) == deployment.id,
        "can_cancel": not deployment.state.is_final,
        "can_promote": service.can_promote(deployment),
        "rolls_back": service.would_roll_back(deployment),
    }
