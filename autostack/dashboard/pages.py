"""The dashboard: what somebody sees first after signing in."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request, url_for

from autostack.dashboard.api import stats_of
from autostack.deployments import hosts
from autostack.deployments import service as deployments
from autostack.extensions import settings
from autostack.github import service as github
from autostack.projects import service as projects
from autostack.web.access import me, signed_in
from autostack.web.redirects import see_other

pages = Blueprint("dashboard", __name__, url_prefix="/dashboard")

# Who does not want GitHub here is not asked again for so long.
BANNER_COOKIE = "github_banner"
BANNER_HIDDEN_S = 180 * 86_400


@pages.get("")
@signed_in
def index() -> str:
    recent = deployments.recent_deployments(me())
    return render_template(
        "dashboard/index.html",
        stats=stats_of(me()),
        deployments=recent,
        addresses=hosts.addresses(recent),
        live=hosts.live_among(recent),
        has_projects=bool(recent) or projects.has_projects(me().id),
        connection=github.connection_of(me()),
        banner_hidden=request.cookies.get(BANNER_COOKIE) == "hidden",
    )


@pages.post("/hide-github-banner")
@signed_in
def hide_banner() -> Response:
    response = see_other(url_for("dashboard.index"))
    response.set_cookie(
        BANNER_COOKIE,
        "hidden",
        max_age=BANNER_HIDDEN_S,
        secure=settings().is_production,
        httponly=True,
        samesite="Lax",
    )
    return response
