"""The settings page of the account itself: name, password, deletion."""

from __future__ import annotations

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.accounts import identity, service
from autostack.accounts.schemas import ChangePasswordIn, DeleteAccountIn, ProfileIn
from autostack.errors import AutostackError, Invalid
from autostack.web.access import account_owner, me
from autostack.web.rate_limits import limit_authentication
from autostack.web.redirects import see_other

pages = Blueprint("account", __name__, url_prefix="/settings/account")


@pages.get("")
@account_owner
def index() -> Response:
    return _page()


@pages.post("/profile")
@account_owner
def change_profile() -> Response:
    try:
        service.update_profile(me(), ProfileIn.parse(request.form).name)
    except Invalid as error:
        return _page(error, error.details)
    flash("Your name is changed.", "success")
    return see_other(url_for("account.index"))


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


@pages.post("/delete")
@account_owner
@limit_authentication
def delete() -> Response:
    try:
        given = DeleteAccountIn.parse({"password": request.form.get("password") or None})
        service.delete_account(identity.current_session(), given.password)
    except Invalid as error:
        return _page(error, {"deletion": error.message})
    except service.FreshSignInRequired as error:
        return _page(error, {"deletion": error.message})
    identity.forget_browser()
    flash("Your account is deleted, with all that was in it.", "success")
    return see_other(url_for("accounts.login"))


def _page(error: AutostackError | None = None, errors: dict[str, str] | None = None) -> Response:
    form = {"name": me().name, **({"name": request.form["name"]} if "name" in request.form else {})}
    page = render_template("settings/account.html", form=form, errors=errors or {})
    return make_response(page, error.status if error else 200)
