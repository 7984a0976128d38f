"""Domains of projects: adding them, finding out whose they are, and having them served."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from autostack.accounts.models import User
from autostack.deployments import hosts
from autostack.domains import checks, names
from autostack.domains.checks import Question
from autostack.domains.models import Domain
from autostack.domains.names import Record
from autostack.domains.status import DomainStatus, Finding, after
from autostack.errors import Conflict, Invalid, NotFound
from autostack.extensions import db, settings
from autostack.projects import service as projects
from autostack.projects.models import Project

log = structlog.stdlib.get_logger(__name__)

# While somebody is likely to be at it, and waits.
EAGER_INTERVAL_S = 60
EAGER_FOR = timedelta(hours=1)
TAKEN = "Another project is served at this domain. Remove its TXT record, or have its owner remove the domain there."


class DomainNotFound(NotFound):
    code = "DOMAIN_NOT_FOUND"


class DomainTaken(Conflict):
    """The name is the project's already."""

    code = "DOMAIN_TAKEN"

    def __init__(self, message: str) -> None:
        super().__init__(message, {"name": message})


class TooManyDomains(Conflict):
    code = "TOO_MANY_DOMAINS"


def domains_of(project: Project) -> list[Domain]:
    """Return a project's domains by name."""
    mine = select(Domain).where(Domain.project_id == project.id)
    return list(db.session.scalars(mine.order_by(Domain.name)))


def domain_of(user: User, id: uuid.UUID) -> Domain:
    """Return one domain of the user's projects. Raises DomainNotFound for another's as for none."""
    mine = select(Domain).join(Project, Project.id == Domain.project_id).where(Project.user_id == user.id)
    found: Domain | None = db.session.scalar(mine.where(Domain.id == id))
    if found is None:
        raise DomainNotFound(f"There is no domain with the id {id}.")
    return found


def target_of(project: Project) -> str:
    """Return the host that a domain's CNAME leads to: the project's own under SITES_DOMAIN."""
    return f"{project.label}.{settings().sites_domain}"


def records_of(domain: Domain) -> list[Record]:
    """Return the DNS records that the domain's owner has to make."""
    return names.records(domain.name, domain.token, target_of(domain.project), settings().sites_addresses)


def add(project: Project, typed: str, *, with_counterpart: bool = False) -> Domain:
    """Add a domain, and `with_counterpart` its www (or what www stands before), which then redirects to it.

    Nothing is served there before its owner has shown that it is theirs. Raises Invalid, DomainTaken, TooManyDomains.
    """
    name = names.read(typed, settings())
    other = names.counterpart(name) if with_counterpart else None
    held = _hold(project.id)
    mine = {domain.name: domain for domain in domains_of(held)}
    _check_new(name, mine)
    wanted = [name, *([other] if other and other not in mine else [])]
    if len(mine) + len(wanted) > settings().max_domains:
        db.session.rollback()
        raise TooManyDomains(f"A project has at most {settings().max_domains} domains.")
    token = next((domain.token for domain in mine.values()), None) or secrets.token_urlsafe(24)
    domain = Domain(id=uuid.uuid4(), project_id=held.id, name=name, token=token)
    db.session.add(domain)
    db.session.flush()
    db.session.add_all(Domain(project_id=held.id, name=each, token=token, redirect_to=domain) for each in wanted[1:])
    db.session.commit()
    log.info("domain added", project_id=str(project.id), domain=name)
    return domain


def check(domain: Domain) -> Domain:
    """Ask DNS about a domain, and have it served or not accordingly. Raises DomainNotFound if it was deleted."""
    id, question = domain.id, _question(domain)
    # No connection of the pool waits with us for DNS.
    db.session.commit()
    return note(id, checks.look_up(question, settings()))


def note(id: uuid.UUID, finding: Finding) -> Domain:
    """Take what DNS said of a domain into account. Raises DomainNotFound."""
    try:
        domain, changed = _noted(id, finding)
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        domain, changed = _contested(id, finding)
    if changed:
        hosts.write(changed)
    return domain


def _contested(id: uuid.UUID, finding: Finding) -> tuple[Domain, list[str]]:
    """Note a finding of a domain that another project is served at, unless that can show no longer that it is its own.

    Whoever a domain was sold to need not wait until DOMAIN_GRACE is over for the former owner.
    """
    left = _release_holder_of(id)
    try:
        domain, changed = _noted(id, finding)
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        domain, changed = _noted(id, Finding(False, None, TAKEN))
        db.session.commit()
    return domain, list(dict.fromkeys([*left, *changed]))


def _release_holder_of(id: uuid.UUID) -> list[str]:
    """Have the project that is served at a domain's name lose it if its TXT record is gone; return hosts to write."""
    name = select(Domain.name).where(Domain.id == id).scalar_subquery()
    held = select(Domain).where(Domain.name == name, Domain.id != id, Domain.status != DomainStatus.PENDING)
    holder = db.session.scalar(held)
    if holder is None:
        return []
    holder_id, question = holder.id, _question(holder)
    # No connection of the pool waits with us for DNS.
    db.session.commit()
    finding = checks.look_up(question, settings())
    if finding.owned is not False:
        return []
    try:
        _, failing = _noted(holder_id, finding)
        _, left = _noted(holder_id, finding, is_anothers=True)
    except DomainNotFound:
        return []
    db.session.commit()
    return failing + left


def redirect(domain: Domain, to: str | None) -> Domain:
    """Have a domain send its visitors on to another one of the project, or (None) show the site itself.

    Raises Invalid for a name that is not the project's, or that redirects itself; DomainNotFound.
    """
    project, fresh = _held(domain.id)
    target = None if to is None else _target(fresh, to)
    fresh.redirect_to = target
    db.session.flush()
    changed = _settle(project)
    db.session.commit()
    hosts.write(changed)
    return fresh


def remove(domain: Domain) -> None:
    """Remove a domain. Nothing is served there any more; what redirected to it shows the site itself."""
    project, fresh = _held(domain.id)
    name = fresh.name
    db.session.delete(fresh)
    db.session.flush()
    db.session.expire_all()
    changed = _settle(project)
    db.session.commit()
    log.info("domain removed", project_id=str(project.id), domain=name)
    hosts.write(changed)


def are_due() -> bool:
    """Tell whether DNS is to be asked about a domain again."""
    return db.session.scalar(select(Domain.id).where(Domain.next_check_at <= func.now()).limit(1)) is not None


def take_due(limit: int) -> list[tuple[uuid.UUID, Question]]:
    """Return what is to be asked, the longest due first, and have nobody else take it for a while."""
    due = select(Domain).where(Domain.next_check_at <= func.now()).order_by(Domain.next_check_at).limit(limit)
    taken = db.session.scalars(due.with_for_update(skip_locked=True)).all()
    questions = [(domain.id, _question(domain)) for domain in taken]
    for domain in taken:
        domain.next_check_at = _now() + timedelta(seconds=_interval_s(domain))
    db.session.commit()
    return questions


def _noted(id: uuid.UUID, finding: Finding, *, is_anothers: bool = False) -> tuple[Domain, list[str]]:
    """Take a finding into account; return the hosts to write. There is no grace where the name `is_anothers`."""
    project, domain = _held(id)
    now, was = _now(), domain.state
    status = after(was, finding, grace_is_over=is_anothers or _grace_is_over(domain, now))
    if status is not was:
        _move(domain, status, now)
    domain.problem, domain.checked_at = finding.problem, now
    domain.next_check_at = now + timedelta(seconds=_interval_s(domain))
    db.session.flush()
    return domain, _settle(project)


def _move(domain: Domain, status: DomainStatus, now: datetime) -> None:
    log.info("domain moved", domain=domain.name, project_id=str(domain.project_id), status=status.value)
    domain.status = status
    domain.failing_since = now if status is DomainStatus.FAILING else None
    if status in (DomainStatus.VERIFIED, DomainStatus.ACTIVE):
        domain.verified_at = domain.verified_at or now
    if status is DomainStatus.PENDING:
        domain.verified_at = None


def _settle(project: Project) -> list[str]:
    """Have hosts follow the project's domains; return those that changed. The caller holds the project."""
    served = [domain for domain in domains_of(project) if domain.state.is_served]
    return hosts.serve_domains(project, {domain.name: _effective_redirect(domain) for domain in served})


def _effective_redirect(domain: Domain) -> str | None:
    """Return where visitors are sent on to: not to a name at which nothing is served yet."""
    target = domain.redirect_to
    return target.name if target is not None and target.state.is_served else None


def _check_new(name: str, mine: Iterable[str]) -> None:
    if name in mine:
        db.session.rollback()
        raise DomainTaken("The project has this domain already.")


def _target(domain: Domain, to: str) -> Domain:
    found = next((one for one in domains_of(domain.project) if one.name == to), None)
    if found is None or found.id == domain.id:
        raise _refused("This is no other domain of the project.")
    if found.redirect_to_id is not None:
        raise _refused(f"{found.name} redirects itself.")
    if db.session.scalar(select(Domain.id).where(Domain.redirect_to_id == domain.id).limit(1)):
        raise _refused("Another domain redirects to this one: it must show the site.")
    return found


def _refused(problem: str) -> Invalid:
    db.session.rollback()
    return Invalid.field("redirectTo", problem)


def _question(domain: Domain) -> Question:
    return Question(domain.name, domain.token, target_of(domain.project))


def _hold(project_id: uuid.UUID) -> Project:
    held = projects.hold(project_id)
    if held is None:
        db.session.rollback()
        raise projects.ProjectNotFound("The project was deleted meanwhile.")
    return held


def _held(id: uuid.UUID) -> tuple[Project, Domain]:
    """Return a domain as it stands, and its project, locked until the transaction ends."""
    project_id = db.session.scalar(select(Domain.project_id).where(Domain.id == id))
    project = projects.hold(project_id) if project_id else None
    fresh = select(Domain).where(Domain.id == id).execution_options(populate_existing=True)
    domain: Domain | None = db.session.scalar(fresh)
    if project is None or domain is None:
        db.session.rollback()
        raise DomainNotFound("The domain was removed meanwhile.")
    return project, domain


def _grace_is_over(domain: Domain, now: datetime) -> bool:
    since = domain.failing_since
    return since is not None and now - since >= timedelta(seconds=settings().domain_grace_s)


def _interval_s(domain: Domain) -> int:
    is_new = domain.created_at is None or _now() - domain.created_at < EAGER_FOR
    usual = settings().domain_check_interval_s
    return min(EAGER_INTERVAL_S, usual) if is_new and domain.state is not DomainStatus.ACTIVE else usual


def _now() -> datetime:
    return datetime.now(UTC)
