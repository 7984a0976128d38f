"""The settings page of the ways into one's account, and of GitHub for deployments."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.accounts import identity, oauth, oauth_session, service
from autostack.accounts.oauth import Purpose
from autostack.accounts.providers import Provider
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.github import service as github
from autostack.web.access import me, signed_in
from autostack.web.rate_limits import limit_authentication
from autostack.web.redirects import see_other

pages = Blueprint("connections", __name__, url_prefix="/settings/connections")

PROVIDER = "/<any(github, google):provider>"


@pages.get("")
@signed_in
def index() -> Response:
    return _page()


@pages.post(f"{PROVIDER}/link")
@signed_in
@limit_authentication
def link(provider: str) -> Response:
    try:
        service.confirm(identity.current_session(), request.form.get("password"))
    except (Invalid, service.FreshSignInRequired) as error:
        return _page(error, {provider: error.message})
    return _leave(Provider(provider), Purpose.LINK)


@pages.post(f"{PROVIDER}/unlink")
@signed_in
def unlink(provider: str) -> Response:
    known = Provider(provider)
    try:
        oauth.unlink(me(), known)
    except Conflict as error:
        return _page(error, {"form": error.message})
    flash(f"{known.label} signs in to your account no more.", "success")
    return see_other(url_for("connections.index"))


@pages.post("/github/connect")
@signed_in
@limit_authentication
def connect() -> Response:
    return _leave(Provider.GITHUB, Purpose.CONNECT)


@pages.post("/github/disconnect")
@signed_in
def disconnect() -> Response:
    github.disconnect(me())
    flash("GitHub is disconnected.", "success")
    return see_other(url_for("connections.index"))


@pages.post("/password")
@signed_in
@limit_authentication
def set_password() -> Response:
    service.ask_for_reset(me().email)
    flash("A mail with a link to set a password is on its way.", "success")
    return see_other(url_for("connections.index"))


def _leave(provider: Provider, purpose: Purpose) -> Response:
    # Not by a redirect: a form's Content-Security-Policy holds for where its answer leads to as well.
    url = oauth.begin(provider, purpose, oauth_session.browser_secret(), me())
    return make_response(render_template("accounts/leaving.html", provider=provider, url=url))


def _page(error: AutostackError | None = None, errors: Mapping[str, str] | None = None) -> Response:
    page = render_template(
        "settings/connections.html",
        linked=oauth.linked(me()),
        connection=github.connection_of(me()),
        errors=errors or {},
    )
    return make_response(page, error.status if error else 200)
