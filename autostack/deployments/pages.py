"""The pages of deployments."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.deployments import ansi, api, hosts, logs, service
from autostack.deployments.access import require_deployment
from autostack.deployments.models import Deployment, DeploymentLog
from autostack.deployments.schemas import DeploymentIn, SearchIn
from autostack.deployments.status import Status, Trigger
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.extensions import settings
from autostack.projects import service as projects
from autostack.projects.access import require_project
from autostack.web.access import me, signed_in
from autostack.web.htmx import is_htmx
from autostack.web.rate_limits import limit_deployments, limit_downloads
from autostack.web.redirects import see_other

pages = Blueprint("deployments", __name__)

LINES_ON_PAGE = 1_000


@pages.get("/deployments")
@signed_in
def index() -> Response:
    query = SearchIn.parse(request.args)
    page = service.search(me(), text=query.search, status=query.status, page=query.page, limit=query.limit)
    shown = render_template(
        "deployments/_rows.html" if is_htmx() else "deployments/list.html",
        deployments=page.items,
        addresses=hosts.addresses(page.items),
        live=hosts.live_among(page.items),
        pagination={"page": page.number, "pages": page.total_pages, "total": page.total_items},
        filters={"search": query.search, "status": query.status},
    )
    response = make_response(shown)
    response.vary.add("HX-Request")
    return response


@pages.get("/deploy")
@signed_in
def new() -> str:
    return render_template("deployments/new.html", form={}, errors={}, projects=projects.projects_of(me()))


@pages.post("/deployments")
@signed_in
@limit_deployments
def create() -> Response:
    typed = {name: value for name, value in request.form.items() if value.strip() and name != "csrf_token"}
    try:
        deployment = api.start(DeploymentIn.parse(typed), Trigger.DASHBOARD)
    except (Invalid, Conflict) as error:
        return _again(error)
    return _started(deployment)


@pages.post("/projects/<uuid:id>/deploy", endpoint="deploy_project")
@signed_in
@limit_deployments
def deploy_project(id: uuid.UUID) -> Response:
    return _started(service.request(me(), require_project(id), Trigger.DASHBOARD))


@pages.get("/deployments/<uuid:id>")
@signed_in
def detail(id: uuid.UUID) -> str:
    deployment = require_deployment(id)
    lines = [_line(line) for line in logs.tail(deployment.id, LINES_ON_PAGE)]
    return render_template("deployments/detail.html", **_context(deployment), log_lines=lines)


@pages.get("/deployments/<uuid:id>/_header")
@signed_in
def header(id: uuid.UUID) -> str:
    return render_template("deployments/_header.html", **_context(require_deployment(id)))


@pages.get("/deployments/<uuid:id>/_row")
@signed_in
def row(id: uuid.UUID) -> str:
    return _row(require_deployment(id))


@pages.get("/deployments/<uuid:id>/logs.txt")
@signed_in
@limit_downloads
def log_text(id: uuid.UUID) -> Response:
    return api.as_download(require_deployment(id))


@pages.post("/deployments/<uuid:id>/cancel")
@signed_in
def cancel(id: uuid.UUID) -> Response:
    deployment = service.cancel(require_deployment(id))
    if is_htmx():
        return make_response(_row(deployment))
    flash("The deployment is cancelled.", "success")
    return see_other(url_for("deployments.detail", id=id))


@pages.post("/deployments/<uuid:id>/redeploy")
@signed_in
@limit_deployments
def redeploy(id: uuid.UUID) -> Response:
    return _started(service.redeploy(require_deployment(id), me()))


@pages.post("/deployments/<uuid:id>/promote")
@signed_in
def promote(id: uuid.UUID) -> Response:
    deployment = service.promote(require_deployment(id))
    flash(f"{deployment.project.name} shows this deployment now.", "success")
    return see_other(url_for("deployments.detail", id=id))


@pages.post("/deployments/<uuid:id>/delete")
@signed_in
def delete(id: uuid.UUID) -> Response:
    service.delete(require_deployment(id))
    flash("The deployment is deleted.", "success")
    return see_other(url_for("deployments.index"))


def _started(deployment: Deployment) -> Response:
    flash(f"{deployment.project.name} is on its way.", "success")
    return see_other(url_for("deployments.detail", id=deployment.id))


def _again(error: AutostackError) -> Response:
    errors = error.details or {"form": error.message}
    page = render_template(
        "deployments/new.html", form=request.form.to_dict(), errors=errors, projects=projects.projects_of(me())
    )
    return make_response(page, error.status)


def _row(deployment: Deployment) -> str:
    addresses, live = hosts.addresses([deployment]), hosts.live_among([deployment])
    return render_template("deployments/_row.html", deployment=deployment, addresses=addresses, live=live)


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


def _line(line: DeploymentLog) -> dict[str, Any]:
    time, _, text = line.message.partition(" ")
    return {"seq": line.seq, "time": time.strip("[]"), "level": line.log_level, "html": ansi.to_html(text)}
