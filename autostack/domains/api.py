"""The JSON API of domains."""

from __future__ import annotations

import uuid

from flask import Blueprint

from autostack.domains import service
from autostack.domains.access import require_domain
from autostack.domains.schemas import DomainIn, DomainOut, DomainsOut, RedirectIn
from autostack.domains.service import DomainNotFound, DomainTaken, TooManyDomains
from autostack.projects.access import require_project
from autostack.projects.service import ProjectNotFound
from autostack.web.access import signed_in
from autostack.web.operations import operation

api = Blueprint("domains_api", __name__, url_prefix="/api")


@api.get("/projects/<uuid:id>/domains")
@signed_in
@operation(raises=[ProjectNotFound])
def list_domains(id: uuid.UUID) -> DomainsOut:
    """List a project's domains."""
    return DomainsOut.of(service.domains_of(require_project(id)))


@api.post("/projects/<uuid:id>/domains")
@signed_in
@operation(status=201, location="domains_api.show", raises=[ProjectNotFound, DomainTaken, TooManyDomains])
def add(id: uuid.UUID, body: DomainIn) -> DomainOut:
    """Add a domain to a project.

    Its `records` are to be made in DNS; once the first is seen, the site is served there.
    """
    return DomainOut.of(service.add(require_project(id), body.name, with_counterpart=body.with_www))


@api.get("/domains/<uuid:id>")
@signed_in
@operation(raises=[DomainNotFound])
def show(id: uuid.UUID) -> DomainOut:
    """Show a domain."""
    return DomainOut.of(require_domain(id))


@api.patch("/domains/<uuid:id>")
@signed_in
@operation(raises=[DomainNotFound])
def redirect(id: uuid.UUID, body: RedirectIn) -> DomainOut:
    """Have a domain redirect to another one of its project, or show the site itself."""
    return DomainOut.of(service.redirect(require_domain(id), body.redirect_to))


@api.post("/domains/<uuid:id>/check")
@signed_in
@operation(raises=[DomainNotFound])
def check(id: uuid.UUID) -> DomainOut:
    """Ask DNS about a domain now.

    It is asked by itself, too: every minute in a domain's first hour, every hour after that.
    """
    return DomainOut.of(service.check(require_domain(id)))


@api.delete("/domains/<uuid:id>")
@signed_in
@operation(raises=[DomainNotFound])
def remove(id: uuid.UUID) -> None:
    """Remove a domain. Nothing is served there any more."""
    service.remove(require_domain(id))
