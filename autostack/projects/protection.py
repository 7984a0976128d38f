"""Sites that only those see who know their password.

The password's hash goes into the routes: the proxy asks for it, with everything else down. A ticket lets an owner in
without it, once.
"""

from __future__ import annotations

import secrets
import uuid
from urllib.parse import quote, urlsplit

import structlog
from redis.exceptions import RedisError
from sqlalchemy import select

from autostack.accounts import passwords
from autostack.accounts.models import User
from autostack.deployments import hosts
from autostack.errors import Invalid, NotFound, Unavailable
from autostack.extensions import db, redis, settings
from autostack.projects import service as projects
from autostack.projects.models import Project, Protects, SiteHost
from autostack.projects.service import ProjectNotFound
from autostack.queue import CONTROL, enqueue
from autostack.sites import tickets

log = structlog.stdlib.get_logger(__name__)

JOB = "autostack.deployments.jobs.write_routes"
# Each deployment has a host of its own. Those that stay are protected before the owner is told so; a job does the rest.
WRITTEN_AT_ONCE = 100


class SiteNotFound(NotFound):
    code = "SITE_NOT_FOUND"


def protect(project: Project, password: str, protects: Protects) -> Project:
    """Have visitors asked for a password, a new one each time: who knew the last one is asked again.

    Raises Invalid for a password that cannot be chosen, ProjectNotFound.
    """
    problem = passwords.problem_with(password)
    if problem is not None:
        raise Invalid.field("password", problem)
    hashed = passwords.hash_password(password, settings().bcrypt_rounds)
    return _change(project.id, hashed, secrets.token_urlsafe(16), protects)


def unprotect(project: Project) -> Project:
    """Let everybody see a project's sites again. Raises ProjectNotFound."""
    return _change(project.id, None, None, Protects.EVERYTHING)


def pending(project: Project) -> int:
    """Return how many of a project's addresses do not do yet what was last said of its password."""
    return hosts.pending_of(project.id)


def way_in(user: User, host: str, path: str) -> str:
    """Return the address that lets this user into a site of theirs once, at `path` of it.

    `host` is as a browser names it. Raises SiteNotFound for another's as for none, Unavailable.
    """
    name = host.lower().partition(":")[0].removesuffix(f".{settings().sites_domain}")
    mine = select(SiteHost, Project).join(Project, Project.id == SiteHost.project_id)
    found = db.session.execute(mine.where(SiteHost.label == name, Project.user_id == user.id)).first()
    if found is None:
        raise SiteNotFound("There is no site of yours at this address.")
    site, project = found
    address = settings().site_url(site.label)
    if project.password_key_id is None:
        return address + tickets.safe_path(path)
    try:
        ticket = tickets.issue(redis(), urlsplit(address).hostname or "", project.password_key_id)
    except RedisError as error:
        log.warning("no ticket", error=str(error))
        raise Unavailable("The site cannot be opened for you just now. Try again in a moment.") from None
    return f"{address}{tickets.ENTER_PATH}?ticket={ticket}&next={quote(tickets.safe_path(path), safe='')}"


def _change(id: uuid.UUID, hashed: str | None, key_id: str | None, protects: Protects) -> Project:
    project = projects.hold(id)
    if project is None:
        db.session.rollback()
        raise ProjectNotFound("The project was deleted meanwhile.")
    project.password_hash, project.password_key_id, project.protects = hashed, key_id, protects.value
    labels = hosts.renew(project.id)
    db.session.commit()
    log.info("protection changed", project_id=str(id), is_protected=hashed is not None)
    if len(labels) > WRITTEN_AT_ONCE:
        enqueue(CONTROL, JOB)
    hosts.write(labels[:WRITTEN_AT_ONCE])
    return project
