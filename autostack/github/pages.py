"""The settings page of a user's connection with GitHub, for deployments."""

from __future__ import annotations

from flask import Blueprint, Response, flash, render_template, request, url_for

from autostack.accounts import leaving
from autostack.accounts.oauth import Purpose
from autostack.accounts.providers import Provider
from autostack.github import service
from autostack.web.access import account_owner, me
from autostack.web.rate_limits import limit_authentication
from autostack.web.redirects import local_path, see_other

pages = Blueprint("github", __name__, url_prefix="/settings/github")


@pages.get("")
@account_owner
def index() -> str:
    return render_template("settings/github.html", connection=service.connection_of(me()))


@pages.post("/connect")
@account_owner
@limit_authentication
def connect() -> Response:
    return leaving.page(Provider.GITHUB, Purpose.CONNECT, local_path(request.args.get("next"), ""))


@pages.post("/disconnect")
@account_owner
def disconnect() -> Response:
    service.disconnect(me())
    flash("GitHub is disconnected.", "success")
    return see_other(url_for("github.index"))
