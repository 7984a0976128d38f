"""The pages of projects. Forms have the API's names; an empty field stands for what is detected."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.deployments import hosts
from autostack.deployments import service as deployment_service
from autostack.deployments.retention import Rule
from autostack.deployments.schemas import BrowseIn
from autostack.errors import AutostackError, Conflict, Invalid, NotFound
from autostack.extensions import db
from autostack.extensions import settings as app_settings
from autostack.projects import explaining, icons, overview, previews, service
from autostack.projects.access import require_project
from autostack.projects.images import Image
from autostack.projects.models import Project
from autostack.projects.schemas import ProjectChangesIn, ProjectIn, ProjectSearchIn
from autostack.proxy.explain import MAX_ADDRESS
from autostack.settings import MAX_KEPT_DAYS, MAX_KEPT_DEPLOYMENTS
from autostack.web.access import me, signed_in
from autostack.web.htmx import is_htmx
from autostack.web.rate_limits import limit_lookups, limit_views
from autostack.web.redirects import see_other

pages = Blueprint("projects", __name__, url_prefix="/projects")

# Form field → column. Variables have a page of their own.
SHOWN = {"name": "name", **service.SNAPSHOT, "keepDeployments": "keep_deployments", "keepDays": "keep_days"}
NEVER_EMPTY = frozenset({"name", "repository", "fallback"})
FALLBACKS: Mapping[str, str] = {
    "auto": "Automatic: 404.html, if there is one, else index.html",
    "spa": "Single-page app: always index.html",
    "none": "Plain: always a 404",
}
# Before the name of a field: what the page showed in it.
WAS = "was."


class Overtaken(Conflict):
    """What is to be changed was changed by somebody else since the page was loaded."""

    code = "SETTINGS_OVERTAKEN"

    def __init__(self, now: Mapping[str, str]) -> None:
        said = {name: f"to “{text}”" if text else "to nothing" for name, text in now.items()}
        problems = {
            name: f"This was changed meanwhile, {what}. Save again to replace that." for name, what in said.items()
        }
        super().__init__("The settings were changed meanwhile.", problems)


@pages.get("")
@signed_in
def index() -> str:
    query = ProjectSearchIn.parse(request.args)
    page = service.search(me(), text=query.search, page=query.page, limit=query.limit)
    projects = page.items
    return render_template(
        "projects/list.html",
        projects=projects,
        pagination=page.numbers(),
        filters={"search": query.search or None, "limit": query.limit if "limit" in request.args else None},
        urls={project.id: app_settings().site_url(project.label) for project in projects},
        latest=overview.latest_deployments(projects),
        live=overview.live_deployments(projects),
    )


@pages.get("/new")
@signed_in
def new() -> str:
    return render_template("projects/new.html", form={}, errors={})


@pages.post("/new")
@signed_in
@limit_lookups
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
        **overview.frame(project),
        deployments=deployments,
        addresses=hosts.addresses(deployments),
        live=hosts.live_among(deployments),
    )


@pages.get("/<uuid:id>/explain")
@signed_in
@limit_views
def explain(id: uuid.UUID) -> str:
    project = require_project(id)
    label, address = project.label, request.args.get("address", "")[:MAX_ADDRESS].replace("\0", "")
    # No connection of the pool waits for the store.
    db.session.commit()
    asked: dict[str, Any] = {"explain_address": address}
    try:
        asked["explanation"] = explaining.explain_address(id, label, address)
    except (Invalid, NotFound) as error:
        # That there is no such site is an answer, too.
        asked["explain_error"] = error.message
    template = "projects/_explain.html" if is_htmx() else "projects/explain.html"
    return render_template(template, **overview.frame(require_project(id)), **asked)


@pages.get("/<uuid:id>/deployments")
@signed_in
def deployments(id: uuid.UUID) -> str:
    project, query = require_project(id), BrowseIn.parse(request.args)
    shown = deployment_service.browse(me(), project=id, before=query.before, after=query.after, limit=query.limit)
    return render_template(
        "projects/deployments.html",
        **overview.frame(project),
        deployments=shown.items,
        addresses=hosts.addresses(shown.items),
        live=hosts.live_among(shown.items),
        newer=shown.newer,
        older=shown.older,
        kept={"id": id, "limit": query.limit},
    )


@pages.get("/<uuid:id>/icon")
@signed_in
@limit_views
def icon(id: uuid.UUID) -> Response:
    return _image(icons.icon_of(require_project(id), request.args.get("of")))


@pages.get("/<uuid:id>/preview")
@signed_in
@limit_views
def preview(id: uuid.UUID) -> Response:
    return _image(previews.preview_of(require_project(id), request.args.get("of")))


@pages.get("/<uuid:id>/settings")
@signed_in
def settings(id: uuid.UUID) -> str:
    project = require_project(id)
    now = _shown(project)
    return render_template("projects/settings.html", **_settings_frame(project), form=now, shown=now, errors={})


@pages.get("/<uuid:id>/danger")
@signed_in
def danger(id: uuid.UUID) -> str:
    return render_template("projects/danger.html", **overview.frame(require_project(id)), form={}, errors={})


@pages.post("/<uuid:id>/settings")
@signed_in
@limit_lookups
def update(id: uuid.UUID) -> Response:
    project = require_project(id)
    try:
        service.update_project(project, ProjectChangesIn.parse(_changed(project)).changes())
    except (Invalid, Conflict) as error:
        now, before = _shown(project), _as_shown(project)
        # What somebody else changed has now been told; of the other fields the page still shows what it did.
        told = error.details if isinstance(error, Overtaken) else {}
        shown = {name: now[name] if name in told else before[name] for name in now}
        return _again("projects/settings.html", error, **_settings_frame(project), shown=shown)
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
    if request.form.get("confirm") != name:
        wrong = Invalid.field("confirm", f"Type {name} to have it deleted.")
        return _again("projects/danger.html", wrong, **overview.frame(project))
    service.delete_project(project)
    flash(f"{name} is deleted.", "success")
    return see_other(url_for("projects.index"))


def _settings_frame(project: Project) -> dict[str, Any]:
    return {
        **overview.frame(project),
        "fallbacks": FALLBACKS.items(),
        "kept_by_default": str(Rule.of_the_platform()),
        "max_kept_deployments": MAX_KEPT_DEPLOYMENTS,
        "max_kept_days": MAX_KEPT_DAYS,
    }


def _image(found: Image) -> Response:
    response = Response(found.data, mimetype=found.media_type)
    # The owner's file on our host: should a browser ever open it as a page, it is one that can do nothing.
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable" if found.is_final else "no-store"
    return response


def _filled_in() -> dict[str, str]:
    return {name: value for name, value in request.form.items() if value.strip() and name != "csrf_token"}


def _shown(project: Project) -> dict[str, str]:
    return {name: str(getattr(project, column) or "") for name, column in SHOWN.items()}


def _as_shown(project: Project) -> dict[str, str]:
    """Return what the page showed whose form this is; where it does not say, what it would show now."""
    return {name: request.form.get(WAS + name, text) for name, text in _shown(project).items()}


def _changed(project: Project) -> dict[str, str | None]:
    """Return what was typed over. Raises Overtaken where somebody else did, too.

    An untouched field must undo neither what another page changed, nor what the form cannot show (an empty command).
    """
    now, before = _shown(project), _as_shown(project)
    typed = {name: request.form[name].strip() for name in SHOWN if name in request.form}
    changed = {name: text for name, text in typed.items() if text != before[name].strip()}
    overtaken = [name for name, text in changed.items() if now[name] not in (before[name], text)]
    if overtaken:
        raise Overtaken({name: _in_words(name, now[name]) for name in overtaken})
    return {name: text if name in NEVER_EMPTY else text or None for name, text in changed.items()}


def _in_words(name: str, text: str) -> str:
    return FALLBACKS[text] if name == "fallback" else text


def _again(template: str, error: AutostackError, **context: Any) -> Response:
    """Render a form again with what was typed, and what is wrong with it at each field."""
    errors: Mapping[str, Any] = error.details or {"form": error.message}
    page = render_template(template, form=request.form.to_dict(), errors=errors, **context)
    return make_response(page, error.status)
