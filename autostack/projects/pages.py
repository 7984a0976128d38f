"""The pages of projects. Forms have the API's names; an empty field stands for what is detected."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.deployments import hosts
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.extensions import settings as app_settings
from autostack.projects import overview, service
from autostack.projects.access import require_project
from autostack.projects.models import Project
from autostack.projects.schemas import ProjectChangesIn, ProjectIn
from autostack.web.access import me, signed_in
from autostack.web.redirects import see_other

pages = Blueprint("projects", __name__, url_prefix="/projects")

# Form field → column. `envVars` is not among them: what is stored is never shown.
SHOWN = {"name": "name", **service.SNAPSHOT}
NEVER_EMPTY = frozenset({"name", "repository"})


@pages.get("")
@signed_in
def index() -> str:
    projects = service.projects_of(me())
    urls = {project.id: app_settings().site_url(project.label) for project in projects}
    latest = overview.latest_deployments(projects)
    return render_template("projects/list.html", projects=projects, urls=urls, latest=latest)


@pages.get("/new")
@signed_in
def new() -> str:
    return render_template("projects/new.html", form={}, errors={})


@pages.post("/new")
@signed_in
def create() -> Response:
    try:
        given = ProjectIn.parse(_filled_in())
        project = service.create(me(), given.repository, given.changes())
    except (Invalid, Conflict) as error:
        return _again("projects/new.html", error)
    flash(f"{project.name} is ready to be deployed.", "success")
    return see_other(url_for("projects.detail", id=project.id))


@pages.get("/<uuid:id>")
@signed_in
def detail(id: uuid.UUID) -> str:
    project = require_project(id)
    deployments = overview.recent_deployments(project)
    return render_template(
        "projects/detail.html",
        project=project,
        production_url=app_settings().site_url(project.label),
        deployments=deployments,
        addresses=hosts.addresses(deployments),
        live=hosts.live_among(deployments),
        live_deployment=overview.live_deployment(project),
    )


@pages.get("/<uuid:id>/settings")
@signed_in
def settings(id: uuid.UUID) -> str:
    project = require_project(id)
    return render_template("projects/settings.html", **_settings_context(project), form=_shown(project), errors={})


@pages.post("/<uuid:id>/settings")
@signed_in
def update(id: uuid.UUID) -> Response:
    project = require_project(id)
    try:
        service.update_project(project, ProjectChangesIn.parse(_changed(project)).changes())
    except (Invalid, Conflict) as error:
        return _again("projects/settings.html", error, **_settings_context(project))
    flash("Settings saved. The next deployment uses them.", "success")
    return see_other(url_for("projects.settings", id=id))


@pages.post("/<uuid:id>/resume")
@signed_in
def resume(id: uuid.UUID) -> Response:
    project = service.resume(require_project(id))
    flash("New deployments go live again.", "success")
    return see_other(url_for("projects.detail", id=project.id))


@pages.post("/<uuid:id>/delete")
@signed_in
def delete(id: uuid.UUID) -> Response:
    project = require_project(id)
    name = project.name
    service.delete_project(project)
    flash(f"{name} is deleted.", "success")
    return see_other(url_for("projects.index"))


def _filled_in() -> dict[str, str]:
    return {name: value for name, value in request.form.items() if value.strip() and name != "csrf_token"}


def _shown(project: Project) -> dict[str, str]:
    return {name: getattr(project, column) or "" for name, column in SHOWN.items()}


def _changed(project: Project) -> dict[str, str | None]:
    """Return what was typed over: an untouched field must not undo what the form cannot show (an empty command)."""
    shown = _shown(project)
    typed = {name: request.form[name].strip() for name in SHOWN if name in request.form}
    changed = {
        name: text if name in NEVER_EMPTY else text or None for name, text in typed.items() if text != shown[name]
    }
    variables = request.form.get("envVars", "")
    return {**changed, "envVars": variables} if variables.strip() else changed


def _settings_context(project: Project) -> dict[str, Any]:
    return {"project": project, "env_names": sorted(service.variables_of(project))}


def _again(template: str, error: AutostackError, **context: Any) -> Response:
    """Render a form again with what was typed, and what is wrong with it at each field."""
    errors: Mapping[str, Any] = error.details or {"form": error.message}
    page = render_template(template, form=request.form.to_dict(), errors=errors, **context)
    return make_response(page, error.status)
