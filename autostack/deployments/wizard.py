"""The wizard's decisions: what a repository is, whether a draft is right, and the one deployment that it becomes."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections import Counter
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select

from autostack.accounts.models import User
from autostack.agent.git import Refs
from autostack.deployments import drafts, idempotency, service
from autostack.deployments.models import Deployment, DeploymentDraft
from autostack.deployments.status import Trigger
from autostack.errors import Conflict, Invalid
from autostack.extensions import db, settings
from autostack.github import detection
from autostack.github import service as github
from autostack.github.client import FULL_NAME, GitHubNotConnected
from autostack.projects import repository as repositories
from autostack.projects import service as projects
from autostack.projects.models import Project
from autostack.projects.repository import Repository
from autostack.projects.schemas import BuildSettingsIn

# What a list to choose from can hold; any other branch can be typed.
MAX_BRANCHES = 200
SETTINGS = {name: projects.SNAPSHOT[name] for name in drafts.FIELDS}


class DraftDone(Conflict):
    """The draft has become a deployment."""

    code = "DRAFT_DONE"


class ProjectChanged(Conflict):
    """The settings that the draft copied are not the project's any more: to deploy it would undo what was changed."""

    code = "PROJECT_CHANGED"

    def __init__(self) -> None:
        super().__init__("The project’s settings were changed after they were copied here. Choose it again in step 1.")


class DraftChanged(Conflict):
    """The draft is not what was shown when it was confirmed."""

    code = "DRAFT_CHANGED"

    def __init__(self) -> None:
        super().__init__("This changed in another tab. Look again at what will be deployed.")


def choose(user: User, reference: str, draft: DeploymentDraft | None = None) -> DeploymentDraft:
    """Take a repository (a Git URL, `owner/name`) for a draft, after reaching it.

    What was typed for the same one stays. Raises Invalid naming `repository`.
    """
    repository = repositories.parse(reference, settings())
    id = draft.id if draft else None
    refs = _refs(user, repository)
    draft = open_draft(user, id) if id else None
    columns = {**_found(repository.url, refs), "project_id": None}
    if draft is None or draft.repository != repository.url or draft.project_id is not None:
        columns |= {"form": {"branch": columns["default_branch"]}, "variables": None, "detected": None}
        columns["project_updated_at"] = None
    return _look(user, drafts.keep(user, draft, columns))


def choose_project(user: User, project: Project, draft: DeploymentDraft | None = None) -> DeploymentDraft:
    """Take a project of the user's for a draft, with its settings and variables. Raises Invalid naming `projectId`."""
    id, draft_id = project.id, draft.id if draft else None
    try:
        refs = _refs(user, Repository(project.repository, project.repository_key, project.name))
    except Invalid as error:
        raise Invalid.field("projectId", error.message) from None
    draft, project = open_draft(user, draft_id) if draft_id else None, projects.project_of(user, id)
    columns = {**_found(project.repository, refs), "project_id": project.id}
    if draft is None or draft.project_id != project.id or draft.project_updated_at != project.updated_at:
        rows = drafts.as_rows(projects.variables_of(project))
        columns |= {"form": shown(project), "variables": drafts.encrypted(rows), "detected": None}
        columns["project_updated_at"] = project.updated_at
    return _look(user, drafts.keep(user, draft, columns))


def open_draft(user: User, id: uuid.UUID, *, held: bool = True) -> DeploymentDraft:
    """Return a draft that can still be changed, held for that. Raises DraftNotFound, DraftDone."""
    draft = drafts.draft_of(user, id, held=held)
    if draft.deployment_id is not None:
        raise DraftDone("This was deployed already.")
    return draft


def settle(user: User, draft: DeploymentDraft, typed: drafts.Typed) -> DeploymentDraft:
    """Keep what was typed, and check it, the branch at its repository. Raises Invalid naming fields."""
    drafts.write(draft, typed)
    return _look(user, checked(user, draft))


def checked(user: User, draft: DeploymentDraft) -> DeploymentDraft:
    """Return the draft if it can be deployed. Raises Invalid naming fields."""
    given, id = read(draft), draft.id
    if given.branch is not None and given.branch not in draft.branches:
        repository = repositories.parse(draft.repository, settings())
        credential = github.clone_credential(user.id, repository.url)
        db.session.commit()
        repositories.reach(repository, given.branch, settings(), credential)
    return open_draft(user, id)


def read(draft: DeploymentDraft) -> BuildSettingsIn:
    """Return the settings that a draft has. Raises Invalid naming fields."""
    rows = drafts.rows_of(draft)
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        raise Invalid.field("envVars", f"{twice[0] or 'A variable without a name'} is there twice.")
    given: dict[str, Any] = {name: text for name, text in draft.form.items() if text}
    if rows:
        given["envVars"] = {row.name: row.value for row in rows}
    return BuildSettingsIn.parse(given)


def version_of(user: User, draft: DeploymentDraft) -> str:
    """Return what tells whether what will be deployed is still what was shown. Raises Invalid naming fields."""
    project = project_of(user, draft)
    # That the project which was chosen changed since has words of its own.
    found = [str(project.id), project.updated_at.isoformat()] if project and not draft.project_id else []
    variables = [(row.name, row.value) for row in drafts.rows_of(draft)]
    shown = [str(draft.project_id), draft.repository, draft.default_branch, draft.form, variables, found]
    # Keyed: it holds secrets, which a plain hash would let be guessed.
    key = settings().secret("secret_key").encode()
    return hmac.new(key, json.dumps(shown, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def deploy(user: User, draft: DeploymentDraft, version: str) -> Deployment:
    """Make the draft a deployment: one, however often this is asked for. `version` is of what was shown.

    Raises Invalid naming fields, DraftChanged, ProjectChanged, KeyInUse while it is being made.
    """
    id = draft.id
    answer = idempotency.once(
        user,
        f"draft-{id}",
        str(id),
        lambda claim: _request(user, id, version, claim),
        lambda deployment: {"id": str(deployment.id)},
    )
    deployment = service.deployment_of(user, uuid.UUID(answer["id"]))
    # Its secrets have gone to the project.
    drafts.keep(user, drafts.draft_of(user, id, held=True), {"deployment_id": deployment.id, "variables": None})
    return deployment


def project_of(user: User, draft: DeploymentDraft) -> Project | None:
    """Return the project that the draft will deploy, if it is there already."""
    if draft.project_id is not None:
        return projects.project_of(user, draft.project_id)
    return projects.of_repository(user, repositories.parse(draft.repository, settings()), read(draft).root_dir)


def shown(project: Project) -> dict[str, str]:
    """Return a project's settings as a form shows them."""
    return {name: getattr(project, column) or "" for name, column in SETTINGS.items()}


def last_framework(project: Project) -> str | None:
    """Return the framework that the project's last build found."""
    last = select(Deployment.detected).where(Deployment.project_id == project.id, Deployment.detected.is_not(None))
    detected = db.session.scalar(last.order_by(Deployment.sequence.desc()).limit(1))
    return detected.get("framework") if detected else None


def detect(user: User, draft: DeploymentDraft, branch: str, root_dir: str) -> dict[str, Any] | None:
    """Return what a build would find at GitHub. None where the repository is elsewhere, or gives no answer."""
    full_name = _at_github(draft.repository)
    if full_name is None:
        return None
    try:
        found = detection.detect(user, full_name, branch or draft.default_branch, root_dir)
    except GitHubNotConnected:
        return None
    return asdict(found) if found else None


def _request(user: User, id: uuid.UUID, version: str, claim: uuid.UUID) -> Deployment:
    # Not held: a project is held before anything else, and the claim keeps others off.
    draft = open_draft(user, id, held=False)
    given = read(draft)
    if not hmac.compare_digest(version.encode(), version_of(user, draft).encode()):
        raise DraftChanged
    if draft.project_id is None:
        return service.request_from(user, draft.repository, given.root_dir, given.changes(), Trigger.DASHBOARD, claim)
    project = projects.project_of(user, draft.project_id)
    if draft.project_updated_at != project.updated_at:
        raise ProjectChanged
    changed = projects.update_project(project, _changes(draft, project, given))
    return service.request(user, changed, Trigger.DASHBOARD, claim)


def _changes(draft: DeploymentDraft, project: Project, given: BuildSettingsIn) -> dict[str, Any]:
    """Return what was changed: an untouched field must not undo what the form cannot show (an empty command)."""
    before = shown(project)
    changed = [name for name in drafts.FIELDS if draft.form.get(name, "") != before[name]]
    changes = {SETTINGS[name]: getattr(given, SETTINGS[name]) for name in changed}
    if "branch" in changes and not changes["branch"]:
        changes["branch"] = draft.default_branch
    variables = given.env_vars or {}
    return changes if variables == projects.variables_of(project) else {**changes, "env_vars": variables}


def _refs(user: User, repository: Repository) -> Refs:
    credential = github.clone_credential(user.id, repository.url)
    # A slow server must keep neither a lock nor a connection of the database's pool waiting with it.
    db.session.commit()
    return repositories.look_at(repository, settings(), credential)


def _found(url: str, refs: Refs) -> dict[str, Any]:
    names = [name for name in refs.branches if len(name) <= repositories.MAX_BRANCH_CHARACTERS]
    if not names:
        raise Invalid.field("repository", "The names of its branches are all too long.")
    default = refs.default_branch if refs.default_branch in names else names[0]
    others = [name for name in names if name != default]
    return {"repository": url, "default_branch": default, "branches": [default, *others[: MAX_BRANCHES - 1]]}


def _look(user: User, draft: DeploymentDraft) -> DeploymentDraft:
    """Have the draft know what its build will find."""
    id, form = draft.id, draft.form
    detected = detect(user, draft, form.get("branch", ""), form.get("rootDir", ""))
    return drafts.keep(user, open_draft(user, id), {"detected": detected})


def _at_github(url: str) -> str | None:
    """Return `owner/name` of an address at GitHub."""
    prefix = f"{settings().github_url.rstrip('/')}/"
    path = urlsplit(url).path.strip("/").removesuffix(".git")
    return path if url.lower().startswith(prefix.lower()) and FULL_NAME.fullmatch(path) else None
