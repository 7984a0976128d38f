"""The pages of accounts: log in, sign up, log out."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask_login import current_user

from autostack.accounts import identity, service
from autostack.accounts.models import User
from autostack.accounts.schemas import LogInIn, SignUpIn
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.web.access import public, signed_in
from autostack.web.rate_limits import limit_authentication
from autostack.web.redirects import local_path, see_other

pages = Blueprint("accounts", __name__)


@pages.get("/")
@public
def index() -> Response:
    known = current_user.is_authenticated
    return make_response(redirect(url_for("projects.index" if known else "accounts.login")))


@pages.get("/login")
@public
def login() -> Response:
    return _form("accounts/login.html")


@pages.post("/login")
@public
@limit_authentication
def log_in() -> Response:
    try:
        given = LogInIn.parse(request.form)
        user = service.log_in(given.email, given.password)
    except Invalid as error:
        return _form("accounts/login.html", error, error.details)
    except service.InvalidCredentials as error:
        return _form("accounts/login.html", error, {"form": error.message})
    return _begin(user, given.remember, f"Welcome back, {user.name}.")


@pages.get("/signup")
@public
def signup() -> Response:
    return _form("accounts/signup.html")


@pages.post("/signup")
@public
@limit_authentication
def sign_up() -> Response:
    try:
        given = SignUpIn.parse(request.form)
        user = service.sign_up(given.name, given.email, given.password)
    except Invalid as error:
        return _form("accounts/signup.html", error, error.details)
    except Conflict as error:
        return _form("accounts/signup.html", error, {"email": error.message})
    return _begin(user, False, f"Welcome, {user.name}.")


@pages.post("/logout")
@signed_in
def logout() -> Response:
    identity.end_session()
    flash("You are logged out.", "success")
    return see_other(url_for("accounts.login"))


def _begin(user: User, remember: bool, greeting: str) -> Response:
    identity.begin_browser_session(user, remember)
    flash(greeting, "success")
    return see_other(_target())


def _target() -> str:
    asked = request.args.get("next") or request.form.get("next")
    return local_path(asked, url_for("projects.index"))


def _form(template: str, error: AutostackError | None = None, errors: Mapping[str, str] | None = None) -> Response:
    """Render a form again as it was filled in, never with the password; who is signed in needs none."""
    if current_user.is_authenticated:
        return make_response(redirect(_target()))
    typed = {name: value for name, value in request.form.items() if name not in {"password", "csrf_token"}}
    page = render_template(template, form=typed, errors=errors or {})
    return make_response(page, error.status if error else 200)
