"""What each host showed before: a visitor whose page is of then still gets the scripts that it asks for.

SERVING.md calls it skew protection. Only deployments that were live on the very host lend, and none that was deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from autostack.deployments.models import Deployment, FormerDeployment
from autostack.deployments.status import Status
from autostack.extensions import db
from autostack.projects.models import SiteHost

KEPT_FOR = timedelta(days=7)
KEPT_AT_LEAST = 10
# Of 50 deployments a day, those of a week are fewer.
KEPT_AT_MOST = 500


def note(label: str, successor: Deployment) -> None:
    """Keep in mind what a host shows until `successor` takes its place. The caller holds the project, commits."""
    shown = select(SiteHost.label, SiteHost.deployment_id, func.now()).where(
        SiteHost.label == label,
        SiteHost.project_id == successor.project_id,
        SiteHost.deployment_id.is_not(None),
        SiteHost.deployment_id != successor.id,
    )
    noted = insert(FormerDeployment).from_select(["label", "deployment_id", "left_at"], shown)
    key = [FormerDeployment.label, FormerDeployment.deployment_id]
    db.session.execute(noted.on_conflict_do_update(index_elements=key, set_={"left_at": noted.excluded.left_at}))


def of(hosts: Iterable[SiteHost]) -> dict[str, tuple[str, ...]]:
    """Return the ids of what these hosts showed before, newest first: all of KEPT_FOR, and at least KEPT_AT_LEAST."""
    labels = [host.label for host in hosts]
    place = func.row_number().over(partition_by=FormerDeployment.label, order_by=FormerDeployment.left_at.desc())
    ranked = (
        select(FormerDeployment.label, FormerDeployment.deployment_id, FormerDeployment.left_at, place.label("place"))
        .join(SiteHost, SiteHost.label == FormerDeployment.label)
        .join(Deployment, Deployment.id == FormerDeployment.deployment_id)
        .where(
            FormerDeployment.label.in_(labels),
            # A name that was given to another project lends nothing of the former one's.
            Deployment.project_id == SiteHost.project_id,
            Deployment.id != SiteHost.deployment_id,
            # One that is still going live may have been seen already.
            Deployment.status.in_((Status.DEPLOYING, Status.SUCCESS)),
        )
        .subquery()
    )
    is_recent = ranked.c.left_at > func.now() - KEPT_FOR
    lent = select(ranked.c.label, ranked.c.deployment_id).where(
        or_(is_recent, ranked.c.place <= KEPT_AT_LEAST), ranked.c.place <= KEPT_AT_MOST
    )
    found: dict[str, tuple[str, ...]] = {}
    for label, id in db.session.execute(lent.order_by(ranked.c.label, ranked.c.place)):
        found[label] = (*found.get(label, ()), str(id))
    return found


def withdraw(deployment_id: uuid.UUID) -> list[str]:
    """Have no host lend this deployment's files any more; return those that did. The caller commits, then writes."""
    lending = select(FormerDeployment.label).where(FormerDeployment.deployment_id == deployment_id)
    changed = update(SiteHost).where(SiteHost.label.in_(lending)).values(generation=SiteHost.generation + 1)
    return list(db.session.scalars(changed.returning(SiteHost.label)))
