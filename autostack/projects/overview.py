"""What the pages of projects show of their deployments."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from autostack.deployments.models import Deployment
from autostack.extensions import db, settings
from autostack.projects.models import Project, SiteHost
from autostack.projects.service import PRODUCTION
from autostack.traffic import budgets

BRANCH = "branch"
MAX_ADDRESSES = 100


def frame(project: Project) -> dict[str, Any]:
    """Return what every page of a project shows."""
    return {
        "project": project,
        "production_url": settings().site_url(project.label),
        "live_deployment": live_deployment(project),
        "budget": budgets.budget_of(project),
    }


def recent_deployments(project: Project, limit: int = 10) -> list[Deployment]:
    """Return the project's newest deployments, newest first."""
    newest_first = select(Deployment).where(Deployment.project_id == project.id).order_by(Deployment.sequence.desc())
    return list(db.session.scalars(newest_first.limit(limit)))


def latest_deployments(projects: Sequence[Project]) -> dict[uuid.UUID, Deployment]:
    """Return the newest deployment of each project that has one, by the project's id."""
    ids = [project.id for project in projects]
    each = aliased(Deployment)
    # One look into an index a project, however many deployments it has.
    newest = select(func.max(each.sequence)).where(each.project_id == Project.id).scalar_subquery()
    sequences = select(newest).select_from(Project).where(Project.id.in_(ids))
    found = db.session.scalars(select(Deployment).where(Deployment.sequence.in_(sequences)))
    return {deployment.project_id: deployment for deployment in found}


def live_deployment(project: Project) -> Deployment | None:
    """Return the deployment that the production host serves, if there is one."""
    served = select(Deployment).join(SiteHost, SiteHost.deployment_id == Deployment.id)
    found: Deployment | None = db.session.scalar(
        served.where(SiteHost.project_id == project.id, SiteHost.kind == PRODUCTION)
    )
    return found


def live_deployments(projects: Sequence[Project]) -> dict[uuid.UUID, uuid.UUID]:
    """Return the id of the deployment that each project's production host serves, where one does, by the project's."""
    ids = [project.id for project in projects]
    served = select(SiteHost.project_id, SiteHost.deployment_id)
    rows = db.session.execute(served.where(SiteHost.project_id.in_(ids), SiteHost.kind == PRODUCTION))
    return {project_id: live for project_id, live in rows if project_id is not None and live is not None}


def addresses(project: Project) -> list[tuple[SiteHost, Deployment | None]]:
    """Return the hosts that stay from deployment to deployment, production first, each with what it serves.

    There may be one more than MAX_ADDRESSES, which tells that not all are there.
    """
    kept = select(SiteHost, Deployment).outerjoin(Deployment, SiteHost.deployment_id == Deployment.id)
    kept = kept.where(SiteHost.project_id == project.id, SiteHost.kind.in_((PRODUCTION, BRANCH)))
    rows = db.session.execute(kept.order_by(SiteHost.kind.desc(), SiteHost.branch).limit(MAX_ADDRESSES + 1))
    return [(host, deployment) for host, deployment in rows]
