"""The pages of the wizard: repository, configuration, confirmation.

Each is right after Back, after a reload and in a second tab: a draft has it all. They stand on the blueprint of the
deployments' pages, for `/deploy` is where a deployment begins.
"""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response, flash, make_response, redirect, render_template, request, url_for
from markupsafe import Markup

from autostack.deployments import drafts, wizard
from autostack.deployments.drafts import Row, Typed
from autostack.deployments.idempotency import KeyInUse
from autostack.deployments.models import DeploymentDraft
from autostack.deployments.pages import pages
from autostack.deployments.schemas import ChoiceIn
from autostack.deployments.wizard import DraftChanged, DraftDone, ProjectChanged
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.extensions import settings
from autostack.github import repositories as github_repositories
from autostack.github import service as github
from autostack.github.client import GitHubNotConnected, GitHubUnavailable
from autostack.projects import service as projects
from autostack.projects.environment import preview
from autostack.web.access import me, signed_in
from autostack.web.rate_limits import limit_deployments, limit_downloads
from autostack.web.redirects import see_other

MOST_PROJECTS = 10


@pages.get("/deploy")
@signed_in
@limit_downloads
def new() -> str:
    return _choosing(_draft_named())


@pages.get("/deploy/_repositories")
@signed_in
@limit_downloads
def repositories() -> str:
    return render_template("wizard/_repositories.html", **_found(), draft=_draft_named())


@pages.post("/deploy")
@signed_in
@limit_downloads
def choose() -> Response:
    draft = _draft_named()
    try:
        given = ChoiceIn.parse({name: value for name, value in request.form.items() if value.strip()})
        draft = _choose(given, draft)
    except (Invalid, Conflict) as error:
        return make_response(_choosing(draft, error), error.status)
    return see_other(url_for("deployments.configure", id=draft.id))


@pages.get("/deploy/<uuid:id>/configure")
@signed_in
def configure(id: uuid.UUID) -> str | Response:
    draft = drafts.draft_of(me(), id)
    return _on_to(draft) if draft.deployment_id else _configuring(draft)


@pages.post("/deploy/<uuid:id>/configure")
@signed_in
@limit_downloads
def settle(id: uuid.UUID) -> Response:
    try:
        wizard.settle(me(), wizard.open_draft(me(), id), _typed())
    except (Invalid, DraftDone) as error:
        return _not_kept(id, error)
    return see_other(url_for("deployments.confirm", id=id))


@pages.get("/deploy/<uuid:id>/_detected")
@signed_in
@limit_downloads
def detected(id: uuid.UUID) -> str:
    draft = drafts.draft_of(me(), id)
    branch, root_dir = request.args.get("branch", ""), request.args.get("rootDir", "")
    framework = _framework(draft)
    found = wizard.detect(me(), draft, branch, root_dir)
    return render_template("wizard/_detected.html", detected=found, framework=framework)


@pages.post("/deploy/<uuid:id>/variables")
@signed_in
def add_variables(id: uuid.UUID) -> Response:
    return _rewritten(id)


@pages.post("/deploy/<uuid:id>/variables/<row>/remove")
@signed_in
def remove_variable(id: uuid.UUID, row: str) -> Response:
    return _rewritten(id, without=row)


@pages.get("/deploy/<uuid:id>/confirm")
@signed_in
def confirm(id: uuid.UUID) -> str | Response:
    draft = drafts.draft_of(me(), id)
    if draft.deployment_id:
        return _on_to(draft)
    try:
        return _confirming(draft)
    except Invalid:
        return see_other(url_for("deployments.configure", id=id))


@pages.post("/deploy/<uuid:id>/confirm")
@signed_in
@limit_deployments
def deploy(id: uuid.UUID) -> Response:
    draft = drafts.draft_of(me(), id)
    try:
        deployment = wizard.deploy(me(), draft, request.form.get("version", ""))
    except KeyInUse:
        flash("It is being started already.", "info")
        return see_other(url_for("deployments.confirm", id=id))
    except (Invalid, DraftChanged, DraftDone, ProjectChanged) as error:
        return _refused(drafts.draft_of(me(), id), error)
    link = url_for("deployments.detail", id=deployment.id)
    flash(Markup('Deployment started. <a href="{}">Watch it build</a>').format(link), "success")
    return see_other(url_for("deployments.started", id=id))


@pages.get("/deploy/<uuid:id>/started")
@signed_in
def started(id: uuid.UUID) -> str | Response:
    draft = drafts.draft_of(me(), id)
    if draft.deployment_id is None:
        return see_other(url_for("deployments.confirm", id=id))
    return render_template("wizard/started.html", draft=draft)


def _choose(given: ChoiceIn, draft: DeploymentDraft | None) -> DeploymentDraft:
    if given.project_id is not None:
        return wizard.choose_project(me(), projects.project_of(me(), given.project_id), draft)
    if given.repository is None:
        raise Invalid.field("repository", "Choose a repository, or give the address of one.")
    return wizard.choose(me(), given.repository, draft)


def _draft_named() -> DeploymentDraft | None:
    """Return the draft that a query or form names, if it can still be changed: else one begins anew."""
    try:
        draft = drafts.draft_of(me(), uuid.UUID(request.values.get("draft", "")))
    except (ValueError, drafts.DraftNotFound):
        return None
    return draft if draft.deployment_id is None else None


def _choosing(draft: DeploymentDraft | None, error: AutostackError | None = None) -> str:
    # Without JavaScript the list comes with the page, once it was asked for; else it comes after it.
    found = _found() if "q" in request.args else {"query": "", "repositories": None, "problem": None}
    return render_template(
        "wizard/repository.html",
        **found,
        draft=draft,
        connection=github.connection_of(me()),
        **_projects(),
        form=request.form if error else _chosen(draft),
        errors=(error.details or {"form": error.message}) if error else {},
    )


def _projects() -> dict[str, Any]:
    """Return the user's newest projects that match the search, so many as are easily looked through."""
    text = request.args.get("search", "")[:255].strip().replace("\0", "")
    found = projects.find(me(), text, MOST_PROJECTS + 1)
    return {
        "projects": found[:MOST_PROJECTS],
        "has_more_projects": len(found) > MOST_PROJECTS,
        "project_search": text,
    }


def _chosen(draft: DeploymentDraft | None) -> dict[str, str]:
    if draft is None:
        return {}
    return {"projectId": str(draft.project_id)} if draft.project_id else {"repository": draft.repository}


def _found() -> dict[str, Any]:
    """Return the user's repositories at GitHub for the list, or why there are none."""
    query, is_anew = request.args.get("q", "")[:255], "anew" in request.args
    found: dict[str, Any] = {"query": query, "repositories": None, "problem": None, "reconnect": False}
    try:
        return {**found, "repositories": github_repositories.search(me(), query, is_anew=is_anew)}
    except GitHubNotConnected as error:
        return {**found, "problem": error.message, "reconnect": True}
    except GitHubUnavailable as error:
        return {**found, "problem": error.message}


def _typed() -> Typed:
    form = request.form
    columns = (form.getlist("envRow"), form.getlist("envName"), form.getlist("envValue"))
    rows = [Row(id, name.strip(), value) for id, name, value in zip(*columns, strict=False)]
    fields, shown = {name: form.get(name, "") for name in drafts.FIELDS}, frozenset(form.getlist("envShown"))
    return Typed(fields, rows, form.get("pasted", ""), shown)


def _rewritten(id: uuid.UUID, without: str | None = None) -> Response:
    try:
        drafts.write(wizard.open_draft(me(), id), _typed())
        if without:
            drafts.remove_row(wizard.open_draft(me(), id), without)
    except (Invalid, DraftDone) as error:
        return _not_kept(id, error)
    return see_other(url_for("deployments.configure", id=id, _anchor="variables"))


def _not_kept(id: uuid.UUID, error: AutostackError) -> Response:
    """Show the second step again with what is wrong; lead on to the deployment that another tab made of the draft."""
    draft = drafts.draft_of(me(), id)
    if draft.deployment_id is not None:
        flash(error.message, "info")
        return see_other(url_for("deployments.detail", id=draft.deployment_id))
    return make_response(_configuring(draft, error), error.status)


def _configuring(draft: DeploymentDraft, error: AutostackError | None = None) -> str:
    return render_template(
        "wizard/configure.html",
        draft=draft,
        form={**draft.form, "pasted": request.form.get("pasted", "") if error else ""},
        errors=_shown_problems(error) if error else {},
        rows=_rows(draft),
        detected=draft.detected,
        framework=_framework(draft),
    )


def _shown_problems(error: AutostackError) -> dict[str, str]:
    """Return what is wrong, by the names of this page's fields; what is wrong elsewhere is said above the form."""
    shown = {*drafts.FIELDS, "envVars", "pasted"}
    elsewhere = [problem for name, problem in error.details.items() if name not in shown]
    here = {name: problem for name, problem in error.details.items() if name in shown}
    return {**here, "form": " ".join(elsewhere)} if elsewhere else here or {"form": error.message}


def _rows(draft: DeploymentDraft) -> list[dict[str, str]]:
    return [{"id": row.id, "name": row.name, "preview": preview(row.value)} for row in drafts.rows_of(draft)]


def _framework(draft: DeploymentDraft) -> str | None:
    project = projects.project_of(me(), draft.project_id) if draft.project_id else None
    return wizard.last_framework(project) if project else None


def _confirming(draft: DeploymentDraft, error: AutostackError | None = None) -> str:
    """Render the last step. Raises Invalid if the draft cannot be deployed as it is."""
    given, project = wizard.read(draft), wizard.project_of(me(), draft)
    return render_template(
        "wizard/confirm.html",
        draft=draft,
        given=given,
        rows=_rows(draft),
        project=project,
        version=wizard.version_of(me(), draft),
        url=settings().site_url(project.label) if project else None,
        replaced=len(projects.variables_of(project)) if project and not draft.project_id and given.env_vars else 0,
        framework=_framework(draft),
        error=error,
    )


def _refused(draft: DeploymentDraft, error: AutostackError) -> Response:
    if draft.deployment_id is not None:
        return _on_to(draft)
    try:
        return make_response(_confirming(draft, error), error.status)
    except Invalid:
        return see_other(url_for("deployments.configure", id=draft.id))


def _on_to(draft: DeploymentDraft) -> Response:
    return make_response(redirect(url_for("deployments.detail", id=draft.deployment_id)))
