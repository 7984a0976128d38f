"""The settings page of the account itself: its password, the ways to sign in, its deletion."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for

from autostack.accounts import deletions, identity, leaving, oauth, service
from autostack.accounts.oauth import Purpose
from autostack.accounts.providers import Provider
from autostack.accounts.schemas import ChangePasswordIn, DeleteAccountIn
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.web.access import account_owner, me
from autostack.web.rate_limits import limit_authentication
from autostack.web.redirects import see_other

pages = Blueprint("account", __name__, url_prefix="/settings/account")
# Where all of this stood at first.
moved = Blueprint("connections", __name__, url_prefix="/settings/connections")

PROVIDER = "/<any(github, google):provider>"


@pages.get("")
@account_owner
def index() -> Response:
    return _page()


@moved.get("", endpoint="index")
@account_owner
def connections() -> Response:
    return make_response(redirect(url_for("account.index"), code=301))


@pages.post("/password")
@account_owner
@limit_authentication
def change_password() -> Response:
    try:
        given = ChangePasswordIn.parse(request.form)
        service.change_password(identity.current_session(), given.current_password, given.new_password)
    except Invalid as error:
        return _page(error, error.details)
    flash("Your password is changed. Other sessions and access tokens have ended.", "success")
    return see_other(url_for("account.index"))


@pages.post("/first-password")
@account_owner
@limit_authentication
def set_password() -> Response:
    service.ask_for_reset(me().email)
    flash("A mail with a link to set a password is on its way.", "success")
    return see_other(url_for("account.index"))


@pages.post(f"{PROVIDER}/link")
@account_owner
@limit_authentication
def link(provider: str) -> Response:
    try:
        service.confirm(identity.current_session(), request.form.get("password"))
    except (Invalid, service.FreshSignInRequired) as error:
        return _page(error, {provider: error.message})
    return leaving.page(Provider(provider), Purpose.LINK)


@pages.post(f"{PROVIDER}/unlink")
@account_owner
def unlink(provider: str) -> Response:
    known = Provider(provider)
    try:
        oauth.unlink(me(), known)
    except Conflict as error:
        return _page(error, {"form": error.message})
    flash(f"{known.label} signs in to your account no more.", "success")
    return see_other(url_for("account.index"))


@pages.post("/delete")
@account_owner
@limit_authentication
def delete() -> Response:
    try:
        given = DeleteAccountIn.parse({"password": request.form.get("password") or None})
        deletions.delete_account(identity.current_session(), given.password)
    except (Invalid, service.FreshSignInRequired) as error:
        return _page(error, {"deletion": error.message})
    identity.forget_browser()
    flash("Your account is closed, and all that was in it is being deleted.", "success")
    return see_other(url_for("accounts.login"))


def _page(error: AutostackError | None = None, errors: Mapping[str, str] | None = None) -> Response:
    page = render_template("settings/account.html", linked=oauth.linked(me()), errors=errors or {})
    return make_response(page, error.status if error else 200)
