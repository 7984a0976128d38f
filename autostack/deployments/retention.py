"""Old deployments go, as their project says, or else the platform: all but the newest ones and those of some days.

What a visitor may still be shown stays however old it is: production, its domains and each branch's address, what they
go back to, and what they lend to visitors with an older page.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Select, false, func, select
from sqlalchemy.orm.exc import ObjectDeletedError

from autostack.deployments import formers, hosts, service
from autostack.deployments.models import Deployment
from autostack.deployments.service import DeploymentLive, DeploymentNotFound
from autostack.deployments.status import IN_PROGRESS
from autostack.extensions import db, settings
from autostack.projects.models import Project, SiteHost

log = structlog.stdlib.get_logger(__name__)

# So many at a time: each is a transaction of its own, and then a wait for every proxy's word.
BATCH = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """Keep the newest `deployments`, and those of the last `days`; with neither, keep all."""

    deployments: int | None
    days: int | None

    @classmethod
    def of(cls, project: Project) -> Rule:
        """Return a project's rule: its own, or where it has none the platform's."""
        own = cls(project.keep_deployments, project.keep_days)
        return own if own != cls(None, None) else cls.of_the_platform()

    @classmethod
    def of_the_platform(cls) -> Rule:
        """Return the rule of projects that have none of their own."""
        return cls(settings().keep_deployments, settings().keep_days)

    def __str__(self) -> str:
        parts = []
        if self.deployments is not None:
            parts.append("the newest one" if self.deployments == 1 else f"the newest {self.deployments:,}")
        if self.days is not None:
            parts.append("those of the last day" if self.days == 1 else f"those of the last {self.days:,} days")
        return " and ".join(parts) or "all of them"


def enforce(project_id: uuid.UUID) -> bool:
    """Delete a batch of a project's old deployments; True if no more are left. Commits."""
    project = db.session.get(Project, project_id)
    ids = expired(project) if project else []
    db.session.commit()
    gone = sum(_delete_if_expired(id) for id in ids)
    if gone:
        log.info("old deployments deleted", project_id=str(project_id), deployments=gone)
    return len(ids) < BATCH


def expired(project: Project) -> list[uuid.UUID]:
    """Return the oldest deployments that a project does not keep, at most BATCH of them."""
    return list(db.session.scalars(_expired(project).limit(BATCH)))


def _delete_if_expired(id: uuid.UUID) -> bool:
    deployment = db.session.get(Deployment, id)
    try:
        # It may be shown, or lent, since it was looked for: it is judged once more while that cannot change.
        return deployment is not None and service.delete(deployment, lambda project: _is_expired(project, id))
    except (DeploymentLive, DeploymentNotFound, ObjectDeletedError):
        db.session.rollback()
        return False


def _is_expired(project: Project, id: uuid.UUID) -> bool:
    return db.session.scalar(_expired(project, id)) is not None


def _expired(project: Project, id: uuid.UUID | None = None) -> Select[uuid.UUID]:
    """Select the deployments that a project does not keep, the oldest first: of all, or of this one."""
    rule = Rule.of(project)
    ranked = select(
        Deployment.id,
        Deployment.sequence,
        Deployment.created_at,
        Deployment.status,
        func.row_number().over(order_by=Deployment.sequence.desc()).label("place"),
    )
    all_of_it = ranked.where(Deployment.project_id == project.id).subquery()
    old = select(all_of_it.c.id).where(all_of_it.c.status.not_in(IN_PROGRESS), all_of_it.c.id.not_in(_shown(project)))
    if id is not None:
        old = old.where(all_of_it.c.id == id)
    if rule == Rule(None, None):
        old = old.where(false())
    if rule.deployments is not None:
        old = old.where(all_of_it.c.place > rule.deployments)
    if rule.days is not None:
        old = old.where(all_of_it.c.created_at < func.now() - timedelta(days=rule.days))
    return old.order_by(all_of_it.c.sequence)


def _shown(project: Project) -> list[uuid.UUID]:
    """Return what hosts show, other than a deployment's own, what they showed before, and what they lend."""
    found = db.session.scalars(
        select(SiteHost).where(SiteHost.project_id == project.id, SiteHost.kind != hosts.OWN)
    ).all()
    shown = {id for host in found for id in (host.deployment_id, host.previous_deployment_id) if id is not None}
    lent = {uuid.UUID(id) for ids in formers.of(found).values() for id in ids}
    return list(shown | lent)
