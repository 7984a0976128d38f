"""Deployments: asking for them, finding, cancelling, promoting and deleting them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Select, bindparam, select
from sqlalchemy.orm import contains_eager, defer, joinedload
from sqlalchemy.sql.base import ExecutableOption

from autostack.accounts.models import User
from autostack.builds import dispatch
from autostack.deployments import events, hosts, idempotency, lifecycle, logs
from autostack.deployments.models import Deployment
from autostack.deployments.status import IN_PROGRESS, Status, Trigger
from autostack.errors import Conflict, NotFound
from autostack.extensions import db, settings
from autostack.paging import Page, Stretch, read_page, read_stretch
from autostack.projects import deleted, removals
from autostack.projects import service as projects
from autostack.projects.models import Project
from autostack.sites import keys
from autostack.sites.hosts import deployment_label

log = structlog.stdlib.get_logger(__name__)

SUPERSEDED = "A newer deployment took its place"
# What a list leaves in PostgreSQL: it shows nothing of it, and it is most of a row.
LISTED = (
    defer(Deployment.snapshot),
    defer(Deployment.env_vars),
    defer(Deployment.detected),
    contains_eager(Deployment.project).load_only(Project.name, Project.label),
)
NEWEST_FIRST = (Deployment.sequence.desc(),)
# Up to so many projects that a search finds, their deployments are looked for by the projects' ids.
FEW_PROJECTS = 1_000
ALL = "all"
FILTERS: dict[str, frozenset[Status]] = {
    ALL: frozenset(Status),
    "success": frozenset({Status.SUCCESS}),
    "failed": frozenset({Status.FAILED}),
    "building": IN_PROGRESS,
    "cancelled": frozenset({Status.CANCELLED}),
}


class DeploymentNotFound(NotFound):
    code = "DEPLOYMENT_NOT_FOUND"


class DeploymentEnded(Conflict):
    code = "DEPLOYMENT_ENDED"


class DeploymentNotReady(Conflict):
    code = "DEPLOYMENT_NOT_READY"


class DeploymentLive(Conflict):
    code = "DEPLOYMENT_LIVE"


def request(user: User, project: Project, trigger: Trigger, claim: uuid.UUID | None = None) -> Deployment:
    """Ask for a deployment of the project as it stands. Once this returns it is accepted, whatever Redis does.

    `claim` is the request's, if its client may repeat it (`deployments.idempotency`).

    Deployments of the same branch that still wait are cancelled: nobody needs them any more. Raises ProjectNotFound
    if the project was deleted meanwhile.
    """
    return _insert(user, project, projects.build_settings(project), trigger, claim)


def request_from(
    user: User,
    reference: str,
    root_dir: str | None,
    changes: Mapping[str, Any],
    trigger: Trigger,
    claim: uuid.UUID | None = None,
) -> Deployment:
    """Ask for a deployment of what `reference` names, making a project of it where there is none.

    `changes` are made to the project. Raises Invalid naming the field.
    """
    project = projects.find_or_create_for(user, reference, root_dir, changes)
    return request(user, project, trigger, claim)


def redeploy(deployment: Deployment, user: User) -> Deployment:
    """Build the same commit again, with the project's settings and variables of today.

    It takes nobody's place: what waits for the branch may be newer.
    """
    project = deployment.project
    snapshot = {**projects.build_settings(project), "branch": deployment.branch, "commit": deployment.commit_hash}
    return _insert(user, project, snapshot, Trigger.REDEPLOY)


def cancel(deployment: Deployment) -> Deployment:
    """Stop a deployment that has not gone live. Raises DeploymentEnded."""
    fresh = lifecycle.locked(deployment.id)
    if fresh is None:
        raise _not_found(deployment.id)
    going_live = fresh.state is Status.DEPLOYING and hosts.serves(fresh)
    if going_live or not lifecycle.move(fresh.id, Status.CANCELLED, reason="Cancelled by its owner"):
        db.session.rollback()
        raise DeploymentEnded("The deployment has ended already, so it cannot be cancelled.")
    logs.say(fresh, "Cancelled by its owner")
    db.session.commit()
    dispatch.tell_of_cancel()
    return fresh


def promote(deployment: Deployment) -> Deployment:
    """Have production show this deployment; nothing is built. Going back to an older one holds new ones off production.

    Raises DeploymentNotReady unless it succeeded.
    """
    project, fresh = _held(deployment)
    if fresh.state is not Status.SUCCESS:
        db.session.rollback()
        raise DeploymentNotReady("Only a deployment that succeeded can be promoted.")
    if would_roll_back(fresh):
        project.auto_promote = False
    labels = hosts.promote(fresh)
    fresh.deployed_url = settings().site_url(project.label)
    events.outdated(project.user_id)
    db.session.commit()
    log.info("deployment promoted", deployment_id=str(fresh.id), host=project.label)
    hosts.write(labels)
    return fresh


def delete(deployment: Deployment, is_due: Callable[[Project], bool] | None = None) -> bool:
    """Delete a deployment with its log and its files' list. Raises DeploymentLive for what visitors are shown.

    False, and nothing is deleted, if `is_due` says so while nobody can change what the project shows.
    """
    id = deployment.id
    project, fresh = _held(deployment)
    if is_due is not None and not is_due(project):
        db.session.rollback()
        return False
    if hosts.live_on(project.label) == fresh.id:
        db.session.rollback()
        raise DeploymentLive("Production shows this deployment. Promote another one first.")
    if hosts.falls_back_on(fresh):
        db.session.rollback()
        raise DeploymentLive("Visitors see this deployment until the one that takes its place is live.")
    removals.plan(keys.deployment(str(project.id), str(fresh.id)))
    withdrawn = hosts.withdraw(fresh)
    deleted.set_apart(fresh)
    events.outdated(project.user_id)
    db.session.commit()
    log.info("deployment deleted", deployment_id=str(id))
    hosts.write(withdrawn)
    dispatch.tell_of_cancel()
    removals.tell_queue()
    deleted.tell_queue()
    return True


def deployment_of(user: User, id: uuid.UUID) -> Deployment:
    """Return one deployment of the user. Raises DeploymentNotFound for another's as for none."""
    mine = _mine(user).where(Deployment.id == id).options(joinedload(Deployment.stages))
    found: Deployment | None = db.session.scalars(mine).unique().one_or_none()
    if found is None:
        raise _not_found(id)
    return found


def recent_deployments(user: User, limit: int = 5) -> list[Deployment]:
    """Return the user's newest deployments, newest first."""
    return list(db.session.scalars(_mine(user).order_by(Deployment.sequence.desc()).limit(limit)))


def search(user: User, *, text: str = "", status: str = "all", page: int = 1, limit: int = 10) -> Page[Deployment]:
    """Return a page of the user's deployments, newest first: those whose project's name or repository has `text`."""
    return read_page(_sequences(user, text, status), NEWEST_FIRST, _listed, page, limit)


def search_everyones(*, text: str = "", status: str = "all", page: int = 1, limit: int = 10) -> Page[Deployment]:
    """Return a page of all deployments with their owners, newest first. For admins only."""
    return read_page(_sequences(None, text, status), NEWEST_FIRST, _listed_with_owners, page, limit)


def browse(
    user: User,
    *,
    text: str = "",
    status: str = "all",
    project: uuid.UUID | None = None,
    before: int | None = None,
    after: int | None = None,
    limit: int = 10,
) -> Stretch[Deployment]:
    """Return what `search` finds, from the newest on or onward from the deployment with this sequence.

    `project` leaves the others out.
    """
    found = _sequences(user, text, status)
    if project is not None:
        found = found.where(Deployment.project_id == project)
    return read_stretch(found, Deployment.sequence, _listed, limit, before, after)


def led_by(listed: Sequence[Deployment], user: User, id: uuid.UUID) -> list[Deployment]:
    """Return a list with this deployment of the user's at its head; as it is if there is no such deployment."""
    try:
        first = deployment_of(user, id)
    except DeploymentNotFound:
        return list(listed)
    return [first, *(deployment for deployment in listed if deployment.id != id)]


def browse_everyones(
    *, text: str = "", status: str = "all", before: int | None = None, after: int | None = None, limit: int = 10
) -> Stretch[Deployment]:
    """Return what `search_everyones` finds in the same way. For admins only."""
    found = _sequences(None, text, status)
    return read_stretch(found, Deployment.sequence, _listed_with_owners, limit, before, after)


def can_promote(deployment: Deployment) -> bool:
    """Tell whether it is ready, and not what production shows already."""
    return deployment.state is Status.SUCCESS and hosts.live_on(deployment.project.label) != deployment.id


def would_roll_back(deployment: Deployment) -> bool:
    """Tell whether production shows a newer deployment than this one."""
    live = hosts.live_on(deployment.project.label)
    shown = db.session.scalar(select(Deployment.sequence).where(Deployment.id == live))
    return shown is not None and shown > deployment.sequence


def _held(deployment: Deployment) -> tuple[Project, Deployment]:
    """Lock a deployment's project and the deployment, and return both as they stand. Raises DeploymentNotFound."""
    id = deployment.id
    project = projects.hold(deployment.project_id)
    fresh = lifecycle.locked(id)
    if project is None or fresh is None:
        db.session.rollback()
        raise _not_found(id)
    return project, fresh


def _mine(user: User) -> Select[Deployment]:
    return _with_projects().where(Deployment.user_id == user.id)


def _with_projects() -> Select[Deployment]:
    return select(Deployment).join(Deployment.project).options(contains_eager(Deployment.project))


def _sequences(user: User | None, text: str, status: str) -> Select[int]:
    """Select the sequences of a user's deployments, or (without a user) of everybody's, that a list is to show."""
    found = select(Deployment.sequence)
    if user is not None:
        found = found.where(Deployment.user_id == user.id)
    if status != ALL:
        found = found.where(Deployment.status.in_(FILTERS[status]))
    return found.where(_of_matching_projects(user, text)) if text else found


def _of_matching_projects(user: User | None, text: str) -> ColumnElement[bool]:
    matching = projects.matching(user, text)
    few = db.session.scalars(matching.limit(FEW_PROJECTS + 1)).all()
    if len(few) > FEW_PROJECTS:
        # So many that the newest deployments are soon found among all.
        return Deployment.project_id.in_(matching)
    # Written into the statement: PostgreSQL then knows from its statistics whether to look by project or by time.
    return Deployment.project_id.in_(bindparam("projects", few, expanding=True, literal_execute=True))


def _listed(sequences: Sequence[int], *options: ExecutableOption) -> list[Deployment]:
    """Return the deployments with these sequences as a list shows them, newest first."""
    shown = _with_projects().where(Deployment.sequence.in_(sequences)).options(*LISTED, *options)
    return list(db.session.scalars(shown.order_by(*NEWEST_FIRST)))


def _listed_with_owners(sequences: Sequence[int]) -> list[Deployment]:
    return _listed(sequences, joinedload(Deployment.user))


def _not_found(id: uuid.UUID) -> DeploymentNotFound:
    return DeploymentNotFound(f"Deployment with ID '{id}' not found")


def _insert(
    user: User, project: Project, snapshot: dict[str, Any], trigger: Trigger, claim: uuid.UUID | None = None
) -> Deployment:
    id = uuid.uuid4()
    now = datetime.now(UTC)
    if projects.hold(project.id) is None:
        raise projects.ProjectNotFound("The project was deleted meanwhile.")
    if trigger is not Trigger.REDEPLOY:
        _supersede(project, snapshot["branch"])
    deployment = Deployment(
        id=id,
        project=project,
        user_id=user.id,
        branch=snapshot["branch"],
        commit_hash=snapshot.get("commit"),
        author=user.name,
        snapshot=snapshot,
        env_vars=project.env_vars,
        trigger=trigger,
        label=deployment_label(project.label, str(id)),
        created_at=now,
        stages=lifecycle.first_stages(id, now),
    )
    db.session.add(deployment)
    if claim is not None:
        idempotency.bind(claim, deployment)
    events.outdated(user.id)
    events.note("deployment requested", deployment_id=str(id), project_id=str(project.id), trigger=trigger.value)
    db.session.commit()
    dispatch.enqueue_build(deployment.id)
    return deployment


def _supersede(project: Project, branch: str) -> None:
    """Cancel what still waits for this branch, in the new deployment's transaction."""
    waiting = select(Deployment.id).where(
        Deployment.project_id == project.id,
        Deployment.branch == branch,
        Deployment.status == Status.QUEUED,
    )
    for id in db.session.scalars(waiting.order_by(Deployment.sequence)).all():
        if lifecycle.move(id, Status.CANCELLED, reason=SUPERSEDED):
            logs.append(id, [logs.Line(SUPERSEDED)])
