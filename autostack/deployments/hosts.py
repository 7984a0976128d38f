"""Which deployment each host name shows. PostgreSQL decides first; the route objects follow."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import case, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from autostack.deployments import cdn, formers
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.errors import AutostackError
from autostack.extensions import db, redis, rowcount, settings, store
from autostack.projects.models import Project, Protects, SiteHost
from autostack.sites.announce import make_visible
from autostack.sites.hosts import branch_label
from autostack.sites.routes import Protection, Route, write_route

log = structlog.stdlib.get_logger(__name__)

PRODUCTION, BRANCH, OWN, DOMAIN = "production", "branch", "deployment", "domain"
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
        labels += promote(deployment)
    return labels


def promote(deployment: Deployment) -> list[str]:
    """Point production, and the domains that show it, at this deployment, older or newer; return their labels.

    The caller holds the project, commits, then writes.
    """
    label = deployment.project.label
    _point(label, PRODUCTION, deployment)
    domains = select(SiteHost.label).where(SiteHost.project_id == deployment.project_id, SiteHost.kind == DOMAIN)
    names = db.session.scalars(domains.order_by(SiteHost.label)).all()
    for name in names:
        _point(name, DOMAIN, deployment)
    return [label, *names]


def serve_domains(project: Project, wanted: Mapping[str, str | None]) -> list[str]:
    """Have these domains show what production does, or send visitors on to another; return those that changed.

    Domains of the project that are not `wanted` become tombstones. The caller holds the project, commits, then writes.
    """
    held = select(SiteHost).where(SiteHost.project_id == project.id, SiteHost.kind == DOMAIN)
    present = {host.label: (host.redirect_to, host.deployment_id) for host in db.session.scalars(held)}
    gone = [name for name in present if name not in wanted]
    for name in gone:
        _leave(name)
    # What production showed before, too: should what is going live now fail, both are handed back to that.
    shown = select(SiteHost.deployment_id, SiteHost.previous_deployment_id).where(SiteHost.label == project.label)
    live, previous = db.session.execute(shown).one_or_none() or (None, None)
    changed = [name for name, target in wanted.items() if present.get(name) != (target, live)]
    values = {"project_id": project.id, "deployment_id": live, "previous_deployment_id": previous, "kind": DOMAIN}
    for name in changed:
        _claim(name, {**values, "redirect_to": wanted[name]})
    return gone + changed


def renew(project_id: uuid.UUID) -> list[str]:
    """Have every route of a project written anew; return the hosts, those that stay first. The caller commits."""
    renewed = update(SiteHost).where(SiteHost.project_id == project_id).values(generation=SiteHost.generation + 1)
    rows = db.session.execute(renewed.returning(SiteHost.label, SiteHost.kind)).all()
    return [label for label, _ in sorted(rows, key=lambda row: row[1] == OWN)]


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
    """Have the hosts of a deployment show nothing, and have the others forget that they showed it.

    The caller holds the project, commits, then writes the routes of the hosts that this returns.
    """
    before = update(SiteHost).where(SiteHost.previous_deployment_id == deployment.id)
    db.session.execute(before.values(previous_deployment_id=None))
    left = update(SiteHost).where(SiteHost.deployment_id == deployment.id)
    left = left.values(deployment_id=None, generation=SiteHost.generation + 1)
    return [*db.session.scalars(left.returning(SiteHost.label)), *formers.withdraw(deployment.id)]


def serves(deployment: Deployment) -> bool:
    """Tell whether a host shows this deployment."""
    shown = select(SiteHost.label).where(SiteHost.deployment_id == deployment.id).limit(1)
    return db.session.scalar(shown) is not None


def falls_back_on(deployment: Deployment) -> bool:
    """Tell whether visitors of a host other than its own may still get this deployment, though another is due there.

    So it is until that one succeeded and its route is written: until then it may be handed back.
    """
    is_live = exists().where(Deployment.id == SiteHost.deployment_id, Deployment.status == Status.SUCCESS)
    leaving = select(SiteHost.label).where(
        SiteHost.previous_deployment_id == deployment.id,
        SiteHost.kind != OWN,
        or_(
            SiteHost.deployment_id.is_not(None) & ~is_live,
            SiteHost.published_generation < SiteHost.generation,
        ),
    )
    return db.session.scalar(leaving.limit(1)) is not None


def addresses(deployments: Iterable[Deployment]) -> dict[uuid.UUID, str]:
    """Return the best address of each deployment that some host shows."""
    ids = [deployment.id for deployment in deployments]
    shown = select(SiteHost.deployment_id, SiteHost.label, SiteHost.kind).where(SiteHost.deployment_id.in_(ids))
    best_last = sorted(db.session.execute(shown).all(), key=lambda host: _preference(host[2]), reverse=True)
    return {id: settings().site_url(label) for id, label, _ in best_last if id is not None}


def live_among(deployments: Iterable[Deployment]) -> dict[uuid.UUID, int]:
    """Return the sequence of the deployment that production shows, by the id of each project that has one."""
    ids = {deployment.project_id for deployment in deployments}
    live = select(SiteHost.project_id, Deployment.sequence).join(Deployment, Deployment.id == SiteHost.deployment_id)
    shown = db.session.execute(live.where(SiteHost.project_id.in_(ids), SiteHost.kind == PRODUCTION))
    return {project_id: sequence for project_id, sequence in shown if project_id is not None}


def live_on(label: str) -> uuid.UUID | None:
    """Return the id of the deployment that a host shows."""
    found: uuid.UUID | None = db.session.scalar(select(SiteHost.deployment_id).where(SiteHost.label == label))
    return found


def write(labels: Sequence[str]) -> None:
    """Write these hosts' routes as PostgreSQL has them, and return once every visitor gets them.

    One that cannot be written keeps no other back. Raises the first such error at the end.
    """
    joined = select(SiteHost, Project).outerjoin(Project, SiteHost.project_id == Project.id)
    found = db.session.execute(joined.where(SiteHost.label.in_(labels))).all()
    former = formers.of([host for host, _ in found])
    routes = [_route(host, project, former.get(host.label, ())) for host, project in found]
    # No connection of the pool waits with us for the store and the proxies.
    db.session.commit()
    written, errors = _write_each(routes)
    if written:
        config = settings()
        make_visible(redis(), store(), written, config.activation_timeout_ms / 1000, config.route_ttl_ms / 1000)
        _note_published(written)
        cdn.tell_queue()
    if errors:
        raise errors[0]


def unwritten(limit: int = 100) -> list[str]:
    """Return hosts whose route object is behind PostgreSQL, in any order: some may stay so for long."""
    behind = select(SiteHost.label).where(SiteHost.published_generation < SiteHost.generation)
    return list(db.session.scalars(behind.order_by(func.random()).limit(limit)))


def pending_of(project_id: uuid.UUID) -> int:
    """Return how many of a project's hosts visitors still get as they were before."""
    behind = select(func.count()).where(SiteHost.published_generation < SiteHost.generation)
    return db.session.scalars(behind.where(SiteHost.project_id == project_id)).one()


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


def _route(host: SiteHost, project: Project | None, former: tuple[str, ...]) -> Route:
    return Route(
        host=host.label,
        generation=host.generation,
        project_id=str(host.project_id or NOBODY),
        deployment_id=str(host.deployment_id or NOBODY),
        kind=PRODUCTION if host.kind == DOMAIN else host.kind,  # type: ignore[arg-type]
        protection=_protection(host, project) if project else None,
        redirect_to=host.redirect_to,
        removed=host.deployment_id is None and host.redirect_to is None,
        former=former,
    )


def _protection(host: SiteHost, project: Project) -> Protection | None:
    if project.password_hash is None or project.password_key_id is None:
        return None
    is_covered = project.protects == Protects.EVERYTHING or host.kind not in (PRODUCTION, DOMAIN)
    return Protection(project.password_hash, project.password_key_id) if is_covered else None


def _point(label: str, kind: str, deployment: Deployment) -> bool:
    formers.note(label, deployment)
    values = {
        "project_id": deployment.project_id,
        "deployment_id": deployment.id,
        "kind": kind,
        "branch": deployment.branch if kind == BRANCH else None,
    }
    live = select(Deployment.id).where(
        Deployment.project_id == deployment.project_id, Deployment.status == Status.SUCCESS
    )
    previous = case((SiteHost.deployment_id.in_(live), SiteHost.deployment_id), else_=SiteHost.previous_deployment_id)
    return _claim(label, values, previous_deployment_id=previous)


def _claim(label: str, values: Mapping[str, Any], **changed: Any) -> bool:
    """Write a host's row, with `changed` too where there is one. False if it is another project's, not ours to take."""
    claim = insert(SiteHost).values(label=label, generation=1, **values)
    claim = claim.on_conflict_do_update(
        index_elements=[SiteHost.label],
        set_={**values, **changed, "generation": SiteHost.generation + 1},
        where=or_(SiteHost.project_id == values["project_id"], SiteHost.project_id.is_(None)),
    )
    return bool(rowcount(db.session.execute(claim)))


def _leave(label: str) -> None:
    left = update(SiteHost).where(SiteHost.label == label)
    nothing = {"project_id": None, "deployment_id": None, "previous_deployment_id": None, "redirect_to": None}
    db.session.execute(left.values(**nothing, generation=SiteHost.generation + 1))


def _is_newest_on(label: str, deployment: Deployment) -> bool:
    """Tell whether what the host shows is older than this deployment, or nothing."""
    shown = db.session.scalar(select(Deployment.sequence).where(Deployment.id == live_on(label)))
    return shown is None or shown <= deployment.sequence


def _preference(kind: str) -> int:
    return PREFERENCE.index(kind) if kind in PREFERENCE else len(PREFERENCE)
