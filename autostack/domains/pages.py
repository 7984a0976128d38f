"""The page of a project's domains."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.domains import names, service
from autostack.domains.access import require_domain
from autostack.domains.models import Domain
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.extensions import settings
from autostack.projects import overview
from autostack.projects.access import require_project
from autostack.projects.models import Project
from autostack.web.access import signed_in
from autostack.web.rate_limits import limit_lookups
from autostack.web.redirects import see_other

pages = Blueprint("domains", __name__)


@pages.get("/projects/<uuid:id>/domains")
@signed_in
def index(id: uuid.UUID) -> Response:
    return _page(require_project(id))


@pages.post("/projects/<uuid:id>/domains")
@signed_in
def add(id: uuid.UUID) -> Response:
    project = require_project(id)
    try:
        domain = service.add(project, request.form.get("name", ""), with_counterpart="withWww" in request.form)
    except (Invalid, Conflict) as error:
        return _page(require_project(id), error)
    return _done(domain, f"{names.shown(domain.name)} is added. Make its records at your DNS provider now.")


@pages.post("/domains/<uuid:id>/check")
@signed_in
@limit_lookups
def check(id: uuid.UUID) -> Response:
    domain = service.check(require_domain(id))
    if domain.problem is None:
        flash(f"{names.shown(domain.name)} leads here.", "success")
    else:
        flash(domain.problem, "error")
    return _back(domain)


@pages.post("/domains/<uuid:id>/redirect")
@signed_in
def redirect(id: uuid.UUID) -> Response:
    domain = require_domain(id)
    to = request.form.get("redirectTo") or None
    try:
        service.redirect(domain, to)
    except Invalid as error:
        flash(error.message, "error")
        return _back(require_domain(id))
    told = f"redirects to {names.shown(to)}" if to else "shows the site"
    return _done(domain, f"{names.shown(domain.name)} {told}.")


@pages.post("/domains/<uuid:id>/remove")
@signed_in
def remove(id: uuid.UUID) -> Response:
    domain = require_domain(id)
    project_id, name = domain.project_id, domain.name
    service.remove(domain)
    flash(f"{names.shown(name)} is removed.", "success")
    return see_other(url_for("domains.index", id=project_id))


def _done(domain: Domain, message: str) -> Response:
    flash(message, "success")
    return _back(domain)


def _back(domain: Domain) -> Response:
    return see_other(url_for("domains.index", id=domain.project_id, _anchor=f"domain-{domain.id}"))


def _page(project: Project, error: AutostackError | None = None) -> Response:
    domains, addresses = service.domains_of(project), overview.addresses(project)
    page = render_template(
        "projects/domains.html",
        **overview.frame(project),
        addresses=[
            {"url": settings().site_url(host.label), "branch": host.branch, "deployment": deployment}
            for host, deployment in addresses[: overview.MAX_ADDRESSES]
        ],
        more_addresses=len(addresses) > overview.MAX_ADDRESSES,
        domains=[
            {"domain": domain, "records": service.records_of(domain), "url": settings().site_url(domain.name)}
            for domain in domains
        ],
        shown=names.shown,
        targets=[domain.name for domain in domains if domain.redirect_to_id is None],
        form={"name": request.form.get("name", "")} if error else {},
        errors=(error.details or {"name": error.message}) if error else {},
    )
    return make_response(page, error.status if error else 200)
