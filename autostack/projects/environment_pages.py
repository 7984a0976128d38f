"""The page of a project's build variables. Values are shown only to who asks for one of them, on that one answer."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.errors import AutostackError, Invalid
from autostack.projects import overview, service, variables
from autostack.projects.access import require_project
from autostack.projects.models import Project
from autostack.web.access import signed_in
from autostack.web.redirects import see_other

pages = Blueprint("environment", __name__, url_prefix="/projects/<uuid:id>/environment")


@pages.get("")
@signed_in
def index(id: uuid.UUID) -> Response:
    return _page(require_project(id))


@pages.post("")
@signed_in
def put(id: uuid.UUID) -> Response:
    project, name = require_project(id), request.form.get("name", "").strip()
    try:
        # As a browser sends the lines of a text area.
        variables.put(project, name, request.form.get("value", "").replace("\r\n", "\n"))
    except Invalid as error:
        return _page(project, error)
    return _saved(id, f"{name} is saved. The next deployment uses it.")


@pages.post("/paste")
@signed_in
def paste(id: uuid.UUID) -> Response:
    project = require_project(id)
    try:
        count = variables.put_all(project, request.form.get("envVars", ""))
    except Invalid as error:
        return _page(project, error)
    return _saved(id, f"{count} variable{'' if count == 1 else 's'} saved. The next deployment uses them.")


@pages.post("/remove")
@signed_in
def remove(id: uuid.UUID) -> Response:
    name = request.form.get("name", "")
    variables.remove(require_project(id), name)
    return _saved(id, f"{name} is removed.")


@pages.post("/reveal")
@signed_in
def reveal(id: uuid.UUID) -> Response:
    project, name = require_project(id), request.form.get("name", "")
    # Shown on this answer, which nothing keeps: a redirect would have to carry it.
    return _page(project, revealed={name: variables.reveal(project, name)})


def _saved(id: uuid.UUID, message: str) -> Response:
    flash(message, "success")
    return see_other(url_for("environment.index", id=id))


def _page(project: Project, error: AutostackError | None = None, revealed: dict[str, str] | None = None) -> Response:
    page = render_template(
        "projects/environment.html",
        **overview.frame(project),
        names=sorted(service.variables_of(project)),
        revealed=revealed or {},
        form={name: request.form[name] for name in ("name", "envVars") if error and name in request.form},
        errors=error.details if error else {},
    )
    return make_response(page, error.status if error else 200)
