"""The page of a project's password, and the way into its protected sites for their owner."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.errors import Invalid
from autostack.projects import overview, protection
from autostack.projects.access import require_project
from autostack.projects.models import Project
from autostack.projects.schemas import ProtectionIn
from autostack.web.access import me, signed_in
from autostack.web.redirects import see_other

pages = Blueprint("protection", __name__)


@pages.get("/projects/<uuid:id>/access")
@signed_in
def index(id: uuid.UUID) -> Response:
    return _page(require_project(id))


@pages.post("/projects/<uuid:id>/access")
@signed_in
def protect(id: uuid.UUID) -> Response:
    project = require_project(id)
    try:
        given = ProtectionIn.parse(request.form)
        protection.protect(project, given.password, given.protects)
    except Invalid as error:
        return _page(require_project(id), error)
    flash("The password is set. Who knew an earlier one is asked again.", "success")
    return see_other(url_for("protection.index", id=id))


@pages.post("/projects/<uuid:id>/access/remove")
@signed_in
def unprotect(id: uuid.UUID) -> Response:
    protection.unprotect(require_project(id))
    flash("Everybody can see the site again.", "success")
    return see_other(url_for("protection.index", id=id))


@pages.get("/visit")
@signed_in
def visit() -> Response:
    """Lead an owner into a site of theirs, past its password."""
    if "host" not in request.args:
        return see_other(url_for("projects.index"))
    return see_other(protection.way_in(me(), request.args.get("host", ""), request.args.get("next", "/")))


def _page(project: Project, error: Invalid | None = None) -> Response:
    page = render_template(
        "projects/access.html",
        **overview.frame(project),
        pending=protection.pending(project),
        form={"protects": request.form.get("protects") if error else project.protects},
        errors=error.details if error else {},
    )
    return make_response(page, error.status if error else 200)
