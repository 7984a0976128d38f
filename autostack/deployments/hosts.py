"""Which deployment each host name shows. PostgreSQL decides first; the route objects follow."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

import structlog
from sqlalchemy import case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.errors import AutostackError
from autostack.extensions import db, redis, rowcount, settings, store
from autostack.projects.models import SiteHost
from autostack.sites.announce import make_visible
from autostack.sites.hosts import branch_label
from autostack.sites.routes import Route, write_route

log = structlog.stdlib.get_logger(__name__)

PRODUCTION, BRANCH, OWN = "production", "branch", "deployment"
NOBODY = str(uuid.UUID(int=0))
# The address that an owner is shown, best first.
PREFERENCE = (PRODUCTION, BRANCH, OWN)


def switch_for(deployment: Deployment) -> list[str]:
    """Point the hosts that a finished build is due at it, and return their labels. The caller commits, then writes.

    Its own host always; its branch's, unless a newer deployment is there; production the same, for the production
    branch, unless the owner rolled back and did not resume. The caller holds the project.
    """
    project = deployment.project
    labels = [deployment.label]
    _point(deployment.label, OWN, deployment)
    if deployment.branch:
        label = branch_label(project.label, deployment.branch)
        if _is_newest_on(label, deployment):
            _point(label, BRANCH, deployment)
            labels.append(label)
    is_due = deployment.branch == project.branch and _is_newest_on(project.label, deployment)
    if is_due and project.auto_promote:
        _point(project.label, PRODUCTION, deployment)
        labels.append(project.label)
    return labels


def promote(deployment: Deployment) -> str:
    """Point production at this deployment, older or newer. The caller holds the project, commits, then writes."""
    label = deployment.project.label
    _point(label, PRODUCTION, deployment)
    return label


def hand_back(deployment: Deployment) -> None:
    """Have the hosts of a deployment that could not be put live show what they did before. The caller commits."""
    db.session.execute(
        update(SiteHost)
        .where(SiteHost.deployment_id == deployment.id)
        .values(
            deployment_id=SiteHost.previous_deployment_id,
            previous_deployment_id=None,
            generation=SiteHost.generation + 1,
        )
    )


def withdraw(deployment: Deployment) -> list[str]:
    """Leave the hosts of a deployment as tombstones. The caller holds the project, commits, then writes."""
    left = update(SiteHost).where(SiteHost.deployment_id == deployment.id)
    left = left.values(deployment_id=None, generation=SiteHost.generation + 1)
    return list(db.session.scalars(left.returning(SiteHost.label)))


def serves(deployment: Deployment) -> bool:
    """Tell whether a host shows this deployment."""
    shown = select(SiteHost.label).where(SiteHost.deployment_id == deployment.id).limit(1)
    return db.session.scalar(shown) is not None


def addresses(deployments: Iterable[Deployment]) -> dict[uuid.UUID, str]:
    """Return the best address of each deployment that some host shows."""
    ids = [deployment.id for deployment in deployments]
    shown = select(SiteHost.deployment_id, SiteHost.label, SiteHost.kind).where(SiteHost.deployment_id.in_(ids))
    best_last = sorted(db.session.execute(shown).all(), key=lambda host: _preference(host[2]), reverse=True)
    return {id: settings().site_url(label) for id, label, _ in best_last if id is not None}


def live_among(deployments: Iterable[Deployment]) -> set[uuid.UUID]:
    """Return the ids of those deployments that their projects' production hosts show."""
    ids = [deployment.id for deployment in deployments]
    live = select(SiteHost.deployment_id).where(SiteHost.deployment_id.in_(ids), SiteHost.kind == PRODUCTION)
    return {id for id in db.session.scalars(live) if id is not None}


def live_on(label: str) -> uuid.UUID | None:
    """Return the id of the deployment that a host shows."""
    found: uuid.UUID | None = db.session.scalar(select(SiteHost.deployment_id).where(SiteHost.label == label))
    return found


def write(labels: Sequence[str]) -> None:
    """Write these hosts' routes as PostgreSQL has them, and return once every visitor gets them.

    One that cannot be written keeps no other back. Raises the first such error at the end.
    """
    routes = [_route(host) for host in db.session.scalars(select(SiteHost).where(SiteHost.label.in_(labels)))]
    # No connection of the pool waits with us for the store and the proxies.
    db.session.commit()
    written, errors = _write_each(routes)
    if written:
        config = settings()
        make_visible(redis(), written, config.activation_timeout_ms / 1000, config.route_ttl_ms / 1000)
        _note_published(written)
    if errors:
        raise errors[0]


def unwritten(limit: int = 100) -> list[str]:
    """Return hosts whose route object is behind PostgreSQL, in any order: some may stay so for long."""
    behind = select(SiteHost.label).where(SiteHost.published_generation < SiteHost.generation)
    return list(db.session.scalars(behind.order_by(func.random()).limit(limit)))


def _write_each(routes: Iterable[Route]) -> tuple[dict[str, int], list[AutostackError]]:
    """Write routes; return the generations of those that the store took, and why it did not take others."""
    written: dict[str, int] = {}
    errors: list[AutostackError] = []
    for route in routes:
        try:
            write_route(store(), route)
            written[route.host] = route.generation
        except AutostackError as error:
            log.warning("route not written", host=route.host, error=str(error))
            errors.append(error)
    return written, errors


def _note_published(written: Mapping[str, int]) -> None:
    for label, generation in written.items():
        db.session.execute(
            update(SiteHost)
            .where(SiteHost.label == label, SiteHost.generation == generation)
            .values(published_generation=generation)
        )
    db.session.commit()


def write_all() -> None:
    """Write every route that is behind PostgreSQL."""
    while labels := unwritten():
        write(labels)
    db.session.commit()


def _route(host: SiteHost) -> Route:
    return Route(
        host=host.label,
        generation=host.generation,
        project_id=str(host.project_id or NOBODY),
        deployment_id=str(host.deployment_id or NOBODY),
        kind=host.kind,  # type: ignore[arg-type]
        removed=host.deployment_id is None,
    )


def _point(label: str, kind: str, deployment: Deployment) -> bool:
    values = {
        "project_id": deployment.project_id,
        "deployment_id": deployment.id,
        "kind": kind,
        "branch": deployment.branch if kind == BRANCH else None,
    }
    claim = insert(SiteHost).values(label=label, generation=1, **values)
    live = select(Deployment.id).where(
        Deployment.project_id == deployment.project_id, Deployment.status == Status.SUCCESS
    )
    previous = case((SiteHost.deployment_id.in_(live), SiteHost.deployment_id), else_=SiteHost.previous_deployment_id)
    claim = claim.on_conflict_do_update(
        index_elements=[SiteHost.label],
        set_={**values, "previous_deployment_id": previous, "generation": SiteHost.generation + 1},
        # A host of another project's is not ours to take.
        where=or_(SiteHost.project_id == deployment.project_id, SiteHost.project_id.is_(None)),
    )
    return bool(rowcount(db.session.execute(claim)))


def _is_newest_on(label: str, deployment: Deployment) -> bool:
    """Tell whether what the host shows is older than this deployment, or nothing."""
    shown = db.session.scalar(select(Deployment.sequence).where(Deployment.id == live_on(label)))
    return shown is None or shown <= deployment.sequence


def _preference(kind: str) -> int:
    return PREFERENCE.index(kind) if kind in PREFERENCE else len(PREFERENCE)
