"""Projects: making, finding, changing and deleting them."""

from __future__ import annotations

import contextlib
import itertools
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from autostack.accounts.models import User
from autostack.builds import dispatch
from autostack.deployments import events
from autostack.encryption import Cipher
from autostack.errors import Conflict, Invalid, NotFound
from autostack.extensions import db, settings
from autostack.github import repositories as github_repositories
from autostack.github import service as github
from autostack.github.client import GitHubNotConnected, RepositoryNotFound
from autostack.paging import Page, read_page
from autostack.projects import deleted, removals
from autostack.projects import repository as repositories
from autostack.projects.models import Project, SiteHost
from autostack.projects.repository import Repository
from autostack.sites import keys
from autostack.sites.hosts import production_label

PRODUCTION = "production"
MAX_NAME_CHARACTERS = 100
# Two projects of one name that are made at once want one label; the loser asks again.
LABEL_ATTEMPTS = 5
NEWEST_FIRST = (Project.created_at.desc(), Project.id)
NAME_CONSTRAINT = "uq_projects_user_id_name"
SNAPSHOT = {
    "repository": "repository",
    "branch": "branch",
    "rootDir": "root_dir",
    "installCommand": "install_command",
    "buildCommand": "build_command",
    "outputDir": "output_dir",
    "nodeVersion": "node_version",
    "fallback": "fallback",
}


class ProjectNotFound(NotFound):
    code = "PROJECT_NOT_FOUND"


class ProjectNameTaken(Conflict):
    code = "PROJECT_NAME_TAKEN"

    def __init__(self, name: str) -> None:
        message = f"You have a project named {name} already."
        super().__init__(message, {"name": message})


def search(user: User, *, text: str, page: int, limit: int) -> Page[Project]:
    """Return a page of the user's projects whose name or repository has `text`, newest first."""
    return read_page(matching(user, text), NEWEST_FIRST, _loaded, page, limit)


def find(user: User, text: str, limit: int) -> list[Project]:
    """Return the user's newest projects whose name or repository has `text`."""
    found = select(Project).where(Project.id.in_(matching(user, text)))
    return list(db.session.scalars(found.order_by(*NEWEST_FIRST).limit(limit)))


def project_of(user: User, id: uuid.UUID) -> Project:
    """Return one project of the user. Raises ProjectNotFound for another's as for none."""
    project: Project | None = db.session.scalar(select(Project).where(Project.id == id, Project.user_id == user.id))
    if project is None:
        raise ProjectNotFound(f"There is no project with the id {id}.")
    return project


def matching(user: User | None, text: str) -> Select[uuid.UUID]:
    """Select the ids of the user's projects, or (without a user) of all, whose name or repository has `text`."""
    found = select(Project.id)
    if text:
        found = found.where(
            Project.name.icontains(text, autoescape=True) | Project.repository.icontains(text, autoescape=True)
        )
    return found if user is None else found.where(Project.user_id == user.id)


def _loaded(ids: Sequence[uuid.UUID]) -> list[Project]:
    return list(db.session.scalars(select(Project).where(Project.id.in_(ids)).order_by(*NEWEST_FIRST)))


def create(user: User, reference: str, changes: Mapping[str, Any]) -> Project:
    """Make a project of a repository, after reaching it. `changes` are values for Project's columns.

    Raises Invalid naming the field, ProjectNameTaken.
    """
    repository = repositories.parse(reference, settings())
    name = changes.get("name") or _free_name(user, repository, changes.get("root_dir"))
    if _has_project(user, name):
        raise ProjectNameTaken(name)
    branch = _reach(user.id, repository, changes.get("branch"))
    columns = _columns({**changes, "name": name, "branch": branch})
    return _insert({"user_id": user.id, **columns, **_location(repository)})


def update_project(project: Project, changes: Mapping[str, Any]) -> Project:
    """Change the columns that are given; a new repository or branch is reached first.

    Raises Invalid naming the field, ProjectNameTaken, ProjectNotFound if it was deleted meanwhile.
    """
    try:
        columns = _columns(changes) | _relocated(project, changes)
        for column, value in columns.items():
            setattr(project, column, value)
        events.outdated(project.user_id)
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise ProjectNameTaken(changes["name"]) from None
    except (StaleDataError, ObjectDeletedError):
        db.session.rollback()
        raise ProjectNotFound("The project was deleted meanwhile.") from None
    return project


def resume(project: Project) -> Project:
    """Let new deployments go live again after a roll-back."""
    return update_project(project, {"auto_promote": True})


def find_or_create_for(
    user: User, reference: str, root_dir: str | None = None, changes: Mapping[str, Any] | None = None
) -> Project:
    """Return the user's project that `reference` names, with `changes` made to it; else a new one of that repository.

    `reference` is a Git URL, GitHub's `owner/name`, the name of a project, or of a repository of the user's at GitHub.
    Raises Invalid naming the field, GitHubUnavailable.
    """
    wanted = dict(changes or {})
    if repositories.is_bare_name(reference):
        named = _named(user, reference)
        if named is not None:
            return update_project(named, wanted)
        reference = _at_github(user, reference)
    key = repositories.parse(reference, settings()).key
    found = _of_repository(user, key, root_dir)
    if found is None:
        try:
            return create(user, reference, {**wanted, "root_dir": root_dir})
        except ProjectNameTaken:
            # Asked for twice at once, the other request made it: nobody gave the name that is taken.
            found = None if wanted.get("name") else _of_repository(user, key, root_dir)
            if found is None:
                raise
    return update_project(found, wanted)


def of_repository(user: User, repository: Repository, root_dir: str | None) -> Project | None:
    """Return the user's project of a repository's folder, if there is one."""
    return _of_repository(user, repository.key, root_dir)


def build_settings(project: Project) -> dict[str, Any]:
    """Return what a deployment remembers of its project: the settings as they stand, by the API's names."""
    return {name: getattr(project, column) for name, column in SNAPSHOT.items()}


def variables_of(project: Project) -> dict[str, str]:
    """Return the project's environment variables in the clear: for builds, and for an owner who asks to see one."""
    return Cipher.of(settings()).decrypt_mapping(project.env_vars)


def hold(project_id: uuid.UUID) -> Project | None:
    """Return a project as it stands, locked until the transaction ends; None if there is none.

    Whoever decides which host shows what takes this lock first, and so finds the others' decisions made. Locks are
    taken in one order everywhere: project, deployment, attempt, host.
    """
    held: Project | None = db.session.scalar(
        select(Project)
        .where(Project.id == project_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return held


def delete_project(project: Project) -> None:
    """Delete a project with its deployments, logs and attempts: nothing finds them from now on, and a job removes them.

    Its host names stay as tombstones: no site is there.
    """
    if hold(project.id) is None:
        raise ProjectNotFound("The project was deleted meanwhile.")
    removals.plan(keys.project(str(project.id)))
    events.outdated(project.user_id)
    deleted.mark(project.id)
    tombstone = {"project_id": None, "deployment_id": None, "previous_deployment_id": None, "redirect_to": None}
    db.session.execute(
        update(SiteHost)
        .where(SiteHost.project_id == project.id)
        .values(**tombstone, generation=SiteHost.generation + 1)
    )
    db.session.commit()
    dispatch.tell_of_cancel()
    removals.tell_queue()
    deleted.tell_queue()


def delete_projects_of(user_id: uuid.UUID) -> None:
    """Delete all projects of a user, as `delete_project` does."""
    while project := db.session.scalar(select(Project).where(Project.user_id == user_id).limit(1)):
        # Another worker may be faster.
        with contextlib.suppress(ProjectNotFound):
            delete_project(project)


def all_ids() -> list[uuid.UUID]:
    """Return the ids of everybody's projects, the oldest first."""
    return list(db.session.scalars(select(Project.id).order_by(Project.created_at, Project.id)))


def has_projects(user_id: uuid.UUID) -> bool:
    """Tell whether a user has a project."""
    return db.session.scalar(select(Project.id).where(Project.user_id == user_id).limit(1)) is not None


def _reach(user_id: uuid.UUID, repository: Repository, branch: str | None) -> str:
    credential = github.clone_credential(user_id, repository.url)
    # A slow server must not keep a connection of the database's pool waiting with it.
    db.session.commit()
    return repositories.reach(repository, branch, settings(), credential)


def _insert(columns: Mapping[str, Any]) -> Project:
    for _ in range(LABEL_ATTEMPTS):
        label = production_label(columns["name"], _is_taken)
        project = Project(id=uuid.uuid4(), label=label, **columns)
        if _inserted(project):
            return project
    raise Conflict("Too many projects of this name are being made at once. Try again.")


def _inserted(project: Project) -> bool:
    """Store a project and claim its host name. False if another project was given the label meanwhile."""
    name = project.name
    db.session.add(project)
    try:
        db.session.flush()
        claimed = _claim_host(project.label, project.id)
    except IntegrityError as error:
        db.session.rollback()
        if NAME_CONSTRAINT in str(error.orig):
            raise ProjectNameTaken(name) from None
        return False
    if claimed:
        db.session.commit()
    else:
        db.session.rollback()
    return claimed


def _claim_host(label: str, project_id: uuid.UUID) -> bool:
    """Take a host name that is new, or a tombstone; its generations go on counting. False if another was faster."""
    claim = insert(SiteHost).values(label=label, project_id=project_id, kind=PRODUCTION)
    taken_over = {"project_id": project_id, "kind": PRODUCTION, "branch": None, "generation": SiteHost.generation + 1}
    claim = claim.on_conflict_do_update(
        index_elements=[SiteHost.label], set_=taken_over, where=SiteHost.project_id.is_(None)
    )
    return db.session.scalar(claim.returning(SiteHost.label)) is not None


def _is_taken(label: str) -> bool:
    held = select(SiteHost.label).where(SiteHost.label == label, SiteHost.project_id.is_not(None))
    return db.session.scalar(held.union(select(Project.label).where(Project.label == label))) is not None


def _columns(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to store for `changes`; where things are cloned from is `_location`'s."""
    columns = {name: value for name, value in changes.items() if name != "repository"}
    if "env_vars" in columns:
        columns["env_vars"] = Cipher.of(settings()).encrypt_mapping(columns["env_vars"] or {})
    return columns


def _location(repository: Repository) -> dict[str, Any]:
    return {"repository": repository.url, "repository_key": repository.key}


def _relocated(project: Project, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return repository and branch, if they change, as they were found on reaching them."""
    if not {"repository", "branch"} & changes.keys():
        return {}
    repository = repositories.parse(changes.get("repository", project.repository), settings())
    branch = changes.get("branch", project.branch)
    if repository.url == project.repository and branch == project.branch:
        return {}
    found = {"branch": _reach(project.user_id, repository, branch), **_location(repository)}
    return found if repository.key == project.repository_key else {**found, "github_repo_id": None}


def _of_repository(user: User, key: str, root_dir: str | None) -> Project | None:
    mine = select(Project).where(Project.user_id == user.id, Project.repository_key == key)
    oldest = mine.where(Project.root_dir.is_not_distinct_from(root_dir)).order_by(Project.created_at).limit(1)
    found: Project | None = db.session.scalar(oldest)
    return found


def _named(user: User, name: str) -> Project | None:
    found: Project | None = db.session.scalar(select(Project).where(Project.user_id == user.id, Project.name == name))
    return found


def _at_github(user: User, name: str) -> str:
    try:
        return github_repositories.named(user, name).full_name
    except (GitHubNotConnected, RepositoryNotFound):
        problem = f"You have no project named {name}, nor such a repository at GitHub. Give a Git URL, or owner/name."
        raise Invalid.field("repository", problem) from None


def _has_project(user: User, name: str) -> bool:
    return db.session.scalar(select(Project.id).where(Project.user_id == user.id, Project.name == name)) is not None


def _free_name(user: User, repository: Repository, root_dir: str | None) -> str:
    """Return the repository's name, or that with its folder or a number, whichever is free."""
    return next(name for name in _names(repository, root_dir) if not _has_project(user, name))


def _names(repository: Repository, root_dir: str | None) -> Iterator[str]:
    # Room for what is added behind it.
    plain = _as_name(repository.name)[: MAX_NAME_CHARACTERS - 40] or "project"
    yield plain
    if root_dir:
        yield f"{plain}-{_as_name(root_dir)[-30:]}"
    yield from (f"{plain}-{number}" for number in itertools.count(2))


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip(".-")
