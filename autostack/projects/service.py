"""Projects: making, finding, changing and deleting them."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from autostack.accounts.models import User
from autostack.encryption import Cipher
from autostack.errors import Conflict, Invalid, NotFound
from autostack.extensions import db, settings
from autostack.projects import removals
from autostack.projects import repository as repositories
from autostack.projects.models import Project, SiteHost
from autostack.projects.repository import Repository
from autostack.sites import keys
from autostack.sites.hosts import production_label

PRODUCTION = "production"
MAX_NAME_CHARACTERS = 100
# Two projects of one name that are made at once want one label; the loser asks again.
LABEL_ATTEMPTS = 5
NAME_CONSTRAINT = "uq_projects_user_id_name"
SNAPSHOT = {
    "repository": "repository",
    "branch": "branch",
    "rootDir": "root_dir",
    "installCommand": "install_command",
    "buildCommand": "build_command",
    "outputDir": "output_dir",
    "nodeVersion": "node_version",
}


class ProjectNotFound(NotFound):
    code = "PROJECT_NOT_FOUND"


class ProjectNameTaken(Conflict):
    code = "PROJECT_NAME_TAKEN"

    def __init__(self, name: str) -> None:
        message = f"You have a project named {name} already."
        super().__init__(message, {"name": message})


def projects_of(user: User) -> list[Project]:
    """Return the user's projects, newest first."""
    return list(
        db.session.scalars(select(Project).where(Project.user_id == user.id).order_by(Project.created_at.desc()))
    )


def project_of(user: User, id: uuid.UUID) -> Project:
    """Return one project of the user. Raises ProjectNotFound for another's as for none."""
    project: Project | None = db.session.scalar(select(Project).where(Project.id == id, Project.user_id == user.id))
    if project is None:
        raise ProjectNotFound(f"There is no project with the id {id}.")
    return project


def create(user: User, reference: str, changes: Mapping[str, Any]) -> Project:
    """Make a project of a repository, after reaching it. `changes` are values for Project's columns.

    Raises Invalid naming the field, ProjectNameTaken.
    """
    repository = repositories.parse(reference, settings())
    name = changes.get("name") or _free_name(user, repository, changes.get("root_dir"))
    if _has_project(user, name):
        raise ProjectNameTaken(name)
    branch = _reach(repository, changes.get("branch"))
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

    `reference` is a Git URL, GitHub's `owner/name`, or the name of a project. Raises Invalid naming the field.
    """
    wanted = dict(changes or {})
    if repositories.is_bare_name(reference):
        return update_project(_named(user, reference), wanted)
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


def build_settings(project: Project) -> dict[str, Any]:
    """Return what a deployment remembers of its project: the settings as they stand, by the API's names."""
    return {name: getattr(project, column) for name, column in SNAPSHOT.items()}


def variables_of(project: Project) -> dict[str, str]:
    """Return the project's environment variables in the clear: for builds, never for answers."""
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
    """Delete a project with its deployments, logs and attempts. Its host names stay as tombstones: no site is there."""
    if hold(project.id) is None:
        raise ProjectNotFound("The project was deleted meanwhile.")
    removals.plan(keys.project(str(project.id)))
    labels = db.session.scalars(select(SiteHost.label).where(SiteHost.project_id == project.id)).all()
    # The hosts come last: the deployments, and whoever holds one, come before them.
    db.session.execute(delete(Project).where(Project.id == project.id))
    db.session.execute(
        update(SiteHost)
        .where(SiteHost.label.in_(labels))
        .values(project_id=None, deployment_id=None, generation=SiteHost.generation + 1)
    )
    db.session.commit()
    removals.tell_queue()


def _reach(repository: Repository, branch: str | None) -> str:
    # A slow server must not keep a connection of the database's pool waiting with it.
    db.session.commit()
    return repositories.reach(repository, branch, settings())


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
    found = {"branch": _reach(repository, branch), **_location(repository)}
    return found if repository.key == project.repository_key else {**found, "github_repo_id": None}


def _of_repository(user: User, key: str, root_dir: str | None) -> Project | None:
    mine = select(Project).where(Project.user_id == user.id, Project.repository_key == key)
    oldest = mine.where(Project.root_dir.is_not_distinct_from(root_dir)).order_by(Project.created_at).limit(1)
    found: Project | None = db.session.scalar(oldest)
    return found


def _named(user: User, name: str) -> Project:
    project: Project | None = db.session.scalar(select(Project).where(Project.user_id == user.id, Project.name == name))
    if project is None:
        raise Invalid.field("repository", f"You have no project named {name}. Give a Git URL, or GitHub's owner/name.")
    return project


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
