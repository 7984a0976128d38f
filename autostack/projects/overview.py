"""What the pages of projects show of their deployments."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on

from autostack.deployments.models import Deployment
from autostack.extensions import db
from autostack.projects.models import Project, SiteHost
from autostack.projects.service import PRODUCTION


def recent_deployments(project: Project, limit: int = 10) -> list[Deployment]:
    """Return the project's newest deployments, newest first."""
    newest_first = select(Deployment).where(Deployment.project_id == project.id).order_by(Deployment.sequence.desc())
    return list(db.session.scalars(newest_first.limit(limit)))


def latest_deployments(projects: Sequence[Project]) -> dict[uuid.UUID, Deployment]:
    """Return the newest deployment of each project that has one, by the project's id."""
    ids = [project.id for project in projects]
    newest = select(Deployment).where(Deployment.project_id.in_(ids)).ext(distinct_on(Deployment.project_id))
    found = db.session.scalars(newest.order_by(Deployment.project_id, Deployment.sequence.desc()))
    return {deployment.project_id: deployment for deployment in found}


def live_deployment(project: Project) -> Deployment | None:
    """Return the deployment that the production host serves, if there is one."""
    served = select(Deployment).join(SiteHost, SiteHost.deployment_id == Deployment.id)
    found: Deployment | None = db.session.scalar(
        served.where(SiteHost.project_id == project.id, SiteHost.kind == PRODUCTION)
    )
    return found
