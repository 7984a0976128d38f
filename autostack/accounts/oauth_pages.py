"""Signing in by GitHub and Google: the ways there and back, and the page that asks for a password in between."""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask_login import current_user

from autostack.accounts import identity, oauth, oauth_session, service
from autostack.accounts.holding import hold
from autostack.accounts.models import User
from autostack.accounts.oauth import AccessDenied, Answer, EmailNotVerified, IdentityTaken, InvalidState, Purpose
from autostack.accounts.providers import Provider, ProviderNotConfigured, ProviderTrouble
from autostack.accounts.schemas import BeginQuery, CallbackQuery
from autostack.errors import AutostackError
from autostack.github import service as github
from autostack.web.access import me, public
from autostack.web.errors import render_error, wants_json
from autostack.web.operations import operation
from autostack.web.rate_limits import limit_authentication
from autostack.web.redirects import local_path, see_other

log = structlog.stdlib.get_logger(__name__)

pages = Blueprint("oauth", __name__)


@public
@operation(status=302, raises=[ProviderNotConfigured, ProviderTrouble])
def begin(provider: Provider, query: BeginQuery) -> Response:
    """Sign in with GitHub or Google.

    Sends the browser there. It comes back to the callback, and goes on to `next`.
    """
    target = local_path(query.next, "")
    url = oauth.begin(provider, Purpose.SIGN_IN, oauth_session.browser_secret(), target=target)
    return make_response(redirect(url))


@public
@operation(
    status=302,
    raises=[InvalidState, AccessDenied, EmailNotVerified, IdentityTaken, ProviderNotConfigured, ProviderTrouble],
)
def callback(provider: Provider, query: CallbackQuery) -> Response:
    """Come back from GitHub or Google.

    For the browser that was sent there only, once.
    """
    user = me() if current_user.is_authenticated else None
    answer = oauth.complete(provider, oauth_session.browser_secret(), query.model_dump(), user)
    return make_response(redirect(_finish(provider, answer)))


for known in Provider:
    path, defaults = f"/api/auth/{known}", {"provider": known}
    pages.add_url_rule(path, f"begin_{known}", begin, defaults=defaults)
    pages.add_url_rule(f"{path}/callback", f"finish_{known}", callback, defaults=defaults)


@pages.get("/login/link")
@public
def link_form() -> str:
    return render_template("accounts/link.html", pending=oauth_session.pending_link(), errors={})


@pages.post("/login/link")
@public
@limit_authentication
def link() -> Response:
    pending = oauth_session.pending_link()
    try:
        user = oauth.link_by_password(pending.user_id, pending.identity, request.form.get("password", ""))
    except service.InvalidCredentials as error:
        page = render_template("accounts/link.html", pending=pending, errors={"password": "The password is wrong."})
        return make_response(page, error.status)
    return see_other(_enter(user, pending.target))


@pages.errorhandler(AutostackError)
def explain(error: AutostackError) -> Response:
    """Say what went wrong on a page that leads on: the address of a callback is of no use a second time."""
    log.info("log-in refused", reason=error.code)
    if wants_json():
        return render_error(error)
    return make_response(render_template("accounts/oauth_problem.html", error=error), error.status)


def _finish(provider: Provider, answer: Answer) -> str:
    """Do what a browser was sent away for; return where it goes now."""
    if answer.purpose is Purpose.SIGN_IN:
        return _sign_in(provider, answer)
    if answer.purpose is Purpose.LINK:
        session = identity.current_session()
        user_id, session_id = session.user_id, session.id
        found = oauth.identify(provider, answer)
        # The provider took its time.
        hold(user_id, session_id)
        oauth.link(me(), found)
        flash(f"You can sign in with {provider.label} now.", "success")
    else:
        connection = github.connect(me(), answer.grant)
        flash(f"GitHub is connected as {connection.github_username}.", "success")
    return url_for("connections.index")


def _sign_in(provider: Provider, answer: Answer) -> str:
    try:
        user = oauth.sign_in(oauth.identify(provider, answer))
    except oauth.PasswordNeeded as needed:
        oauth_session.keep_link(needed, answer.target)
        return url_for("oauth.link_form")
    return _enter(user, answer.target)


def _enter(user: User, target: str) -> str:
    """Sign a browser in; return where it was going."""
    if current_user.is_authenticated:
        identity.end_session()
    identity.begin_browser_session(user, remember=False)
    flash(f"Welcome, {user.name}.", "success")
    return local_path(target, url_for("projects.index"))
