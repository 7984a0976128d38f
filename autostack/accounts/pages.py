"""The pages of accounts: log in, sign up, log out."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask_login import current_user

from autostack.accounts import identity, service
from autostack.accounts.models import User
from autostack.accounts.schemas import ForgotPasswordIn, LogInFormIn, ResetPasswordIn, SignUpIn, VerifyEmailIn
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.web.access import me, public, signed_in
from autostack.web.rate_limits import limit_authentication
from autostack.web.redirects import local_path, see_other

pages = Blueprint("accounts", __name__)


@pages.get("/login")
@public
def login() -> Response:
    return _form("accounts/login.html")


@pages.post("/login")
@public
@limit_authentication
def log_in() -> Response:
    try:
        given = LogInFormIn.parse(request.form)
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


@pages.get("/forgot-password")
@public
def forgot_password() -> str:
    return render_template("accounts/forgot_password.html", form={}, errors={})


@pages.post("/forgot-password")
@public
@limit_authentication
def ask_for_reset() -> str | Response:
    try:
        email = ForgotPasswordIn.parse(request.form).email
    except Invalid as error:
        return _again("accounts/forgot_password.html", error)
    service.ask_for_reset(email)
    return render_template("accounts/forgot_password.html", sent_to=email)


@pages.get("/reset-password")
@public
def choose_password() -> str:
    return render_template("accounts/reset_password.html", form=request.args, errors={})


@pages.post("/reset-password")
@public
@limit_authentication
def reset_password() -> Response:
    try:
        given = ResetPasswordIn.parse(request.form)
        service.reset_password(given.token, given.password)
    except Invalid as error:
        return _again("accounts/reset_password.html", error)
    flash("Your password is changed. Log in with the new one.", "success")
    return see_other(url_for("accounts.login"))


@pages.get("/verify-email")
@public
def confirm_email() -> str:
    # Only asks: programs that look into mails open every link in them.
    return render_template("accounts/verify_email.html", form=request.args, errors={})


@pages.post("/verify-email")
@public
@limit_authentication
def verify_email() -> Response:
    try:
        service.verify_email(VerifyEmailIn.parse(request.form).token)
    except Invalid as error:
        return _again("accounts/verify_email.html", error)
    flash("Your e-mail address is confirmed.", "success")
    return see_other(url_for("public.landing"))


@pages.post("/resend-verification")
@signed_in
@limit_authentication
def resend_verification() -> Response:
    service.ask_for_verification(me())
    flash("A mail with a link is on its way.", "success")
    return see_other(url_for("public.landing"))


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
    return local_path(asked, url_for("dashboard.index"))


def _form(template: str, error: AutostackError | None = None, errors: Mapping[str, str] | None = None) -> Response:
    """Render a form again as it was filled in, never with the password; who is signed in needs none."""
    if current_user.is_authenticated:
        return make_response(redirect(_target()))
    page = render_template(template, form=_typed(), errors=errors or {})
    return make_response(page, error.status if error else 200)


def _again(template: str, error: AutostackError) -> Response:
    """Render a form that anybody may use again, with what was wrong with it."""
    return make_response(render_template(template, form=_typed(), errors=error.details), error.status)


def _typed() -> dict[str, str]:
    return {name: value for name, value in request.form.items() if name not in {"password", "csrf_token"}}
