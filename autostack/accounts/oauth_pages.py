"""Signing in by GitHub and Google: the ways there and back, and the page that asks for a password in between."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from flask import Blueprint, Response, flash, g, make_response, redirect, render_template, request, url_for
from flask_login import current_user

from autostack.accounts import identity, oauth, oauth_session, service, sessions, sign_in_codes
from autostack.accounts.holding import SignedIn, hold
from autostack.accounts.identity import SessionRequired
from autostack.accounts.models import User
from autostack.accounts.oauth import (
    AccessDenied,
    EmailNotVerified,
    Errand,
    IdentityTaken,
    InvalidState,
    NoFrontEnd,
    OtherWayFirst,
    Purpose,
    Return,
)
from autostack.accounts.providers import Grant, Provider, ProviderNotConfigured, ProviderTrouble
from autostack.accounts.schemas import BeginQuery, CallbackQuery, TokensOut
from autostack.errors import AutostackError, Unauthorized
from autostack.extensions import settings
from autostack.github import service as github
from autostack.web.access import me, public
from autostack.web.errors import render_error, wants_json
from autostack.web.operations import operation
from autostack.web.rate_limits import limit_authentication
from autostack.web.redirects import local_path, see_other

log = structlog.stdlib.get_logger(__name__)

pages = Blueprint("oauth", __name__)

# Where it is seen what an errand of somebody signed in came to, unless they were on their way elsewhere.
SETTINGS = {Purpose.LINK: "account.index", Purpose.CONNECT: "github.index"}


@public
@operation(status=302, raises=[ProviderNotConfigured, NoFrontEnd, ProviderTrouble])
def begin(provider: Provider, query: BeginQuery) -> Response:
    """Sign in with GitHub or Google.

    Sends the browser there. It comes back to the callback, and goes on to `next`; with a `codeChallenge` to
    FRONTEND_URL, as `?code=` for `POST /api/auth/exchange` or as `?error=` with an error's code.
    """
    errand = Errand(Purpose.SIGN_IN, target=local_path(query.next, ""), challenge=query.code_challenge or None)
    return make_response(redirect(oauth.begin(provider, errand, oauth_session.browser_secret())))


@public
@operation(
    redirects=True,
    raises=[
        InvalidState, AccessDenied, EmailNotVerified, IdentityTaken, OtherWayFirst, ProviderNotConfigured,
        ProviderTrouble, SessionRequired, Unauthorized,
    ],
)  # fmt: skip
def callback(provider: Provider, query: CallbackQuery) -> TokensOut | Response:
    """Come back from GitHub or Google.

    For the browser that was sent there only, once. Signs it in and sends it on; who prefers `application/json` to
    pages is answered with tokens instead.
    """
    who = SignedIn.by(identity.current_session()) if current_user.is_authenticated else None
    returned = oauth.come_back(provider, oauth_session.browser_secret(), query.state, who.user_id if who else None)
    g.errand = returned.errand
    try:
        return _finish(provider, returned, query, who)
    except AutostackError as error:
        if returned.errand.challenge is None:
            raise
        log.info("log-in refused", reason=error.code)
        return make_response(redirect(_front_end(error=error.code)))


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
    url = _enter(user, pending.errand)
    if pending.errand.challenge is None:
        return see_other(url)
    # Not by a redirect: a form's Content-Security-Policy holds for where its answer leads to as well.
    return make_response(render_template("accounts/leaving.html", where=urlsplit(url).hostname, url=url))


@pages.errorhandler(AutostackError)
def explain(error: AutostackError) -> Response:
    """Say what went wrong on a page that leads on: the address of a callback is of no use a second time."""
    log.info("log-in refused", reason=error.code)
    if wants_json():
        return render_error(error)
    back = local_path(g.errand.target, "") if "errand" in g and g.errand.purpose in SETTINGS else ""
    return make_response(render_template("accounts/oauth_problem.html", error=error, back=back), error.status)


def _finish(provider: Provider, returned: Return, query: CallbackQuery, who: SignedIn | None) -> TokensOut | Response:
    """Do what a browser was sent away for, and send it on."""
    asked, errand = returned.asked, returned.errand
    grant = oauth.granted(provider, query.model_dump(), asked)
    if errand.purpose is Purpose.SIGN_IN:
        return _sign_in(provider, grant, returned)
    if who is None:
        raise InvalidState
    # The provider takes its time, so both hold the account at their end.
    if errand.purpose is Purpose.LINK:
        found = oauth.identify(provider, grant, asked)
        hold(who)
        oauth.link(me(), found)
        flash(f"You can sign in with {provider.label} now.", "success")
    else:
        connection = github.connect(who, grant)
        flash(f"GitHub is connected as {connection.github_username}.", "success")
    return make_response(redirect(local_path(errand.target, url_for(SETTINGS[errand.purpose]))))


def _sign_in(provider: Provider, grant: Grant, returned: Return) -> TokensOut | Response:
    errand = returned.errand
    takes_tokens = errand.challenge is None and _prefers_json()
    try:
        user = oauth.sign_in(oauth.identify(provider, grant, returned.asked))
    except oauth.PasswordNeeded as needed:
        if takes_tokens:
            raise OtherWayFirst(provider) from None
        oauth_session.keep_link(needed, errand)
        return make_response(redirect(url_for("oauth.link_form")))
    if takes_tokens:
        return TokensOut.of(user, sessions.open_api_session(user, identity.visitor()))
    return make_response(redirect(_enter(user, errand)))


def _enter(user: User, errand: Errand) -> str:
    """Sign a browser in, or give its front end a code; return where it goes now."""
    if errand.challenge is not None:
        return _front_end(code=sign_in_codes.issue(user, errand.challenge))
    if current_user.is_authenticated:
        identity.end_session()
    identity.begin_browser_session(user, remember=False)
    flash(f"Welcome, {user.name}.", "success")
    return local_path(errand.target, url_for("dashboard.index"))


def _front_end(**query: str) -> str:
    """Return FRONTEND_URL with a query: the one address elsewhere that a sign-in leads to, whoever asks."""
    known = settings()
    if known.frontend_url is None or not known.has_front_end_elsewhere:
        raise NoFrontEnd
    parts = urlsplit(known.frontend_url)
    given = urlencode([*parse_qsl(parts.query), *query.items()])
    return parts._replace(path=parts.path or "/", query=given, fragment="").geturl()


def _prefers_json() -> bool:
    # Who takes anything, or says nothing, is taken for a browser.
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"
