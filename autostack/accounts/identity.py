"""Who asks: Flask-Login's loaders, by a browser's cookie or by the API's bearer token.

A browser's cookie is the secret of a row of `sessions`, a bearer token names one or is a personal access token. Either
is looked up at each request: a copy of it is worthless once its owner has logged out.
"""

from __future__ import annotations

import uuid
from typing import cast

import structlog
from flask import Request, g, request, session
from flask_login import current_user, login_user

from autostack.accounts import access_tokens, sessions
from autostack.accounts.callers import Caller
from autostack.accounts.models import Session, User
from autostack.accounts.scopes import Scope
from autostack.accounts.sessions import Visitor
from autostack.accounts.tickets import SignIn
from autostack.errors import Forbidden, Unauthorized
from autostack.extensions import login_manager
from autostack.web.access import bearer_token
from autostack.web.addresses import client_address
from autostack.web.browser_sessions import BrowserSession, new_id

MAX_USER_AGENT_CHARACTERS = 255


class SessionRequired(Forbidden):
    code = "SESSION_REQUIRED"


def visitor() -> Visitor:
    """Return where this request comes from."""
    client = client_address()
    return Visitor(str(client) if client else None, request.user_agent.string[:MAX_USER_AGENT_CHARACTERS] or None)


def begin_browser_session(user: User, remember: bool) -> None:
    """Sign the browser in, with another cookie: what it held before, somebody else may have planted."""
    _, secret = sessions.open_browser_session(user, remember, visitor())
    _browser().renew(secret)
    session.permanent = remember
    login_user(user)


def end_session() -> None:
    """End the session that this request came with."""
    sessions.log_out(current_session())
    # A bearer token's session is not the one of the cookie that may have come along.
    if bearer_token() is None:
        forget_browser()


def forget_browser() -> None:
    """Have the browser go on as one that nobody is signed in with."""
    _browser().renew(new_id())


def current_session() -> Session:
    """Return the session that this request came with. Raises Unauthorized where there is none, SessionRequired."""
    found = current_sign_in()
    if not isinstance(found, Session):
        raise SessionRequired("This takes a session: log in instead of using a personal access token.")
    return found


def current_sign_in() -> SignIn:
    """Return what this request's caller signed in with. Raises Unauthorized where there is nothing."""
    if not current_user.is_authenticated or "sign_in" not in g:
        raise Unauthorized("Sign in first.")
    found = cast("SignIn | Caller", g.sign_in)
    return found.sign_in if isinstance(found, Caller) else found


def sign_in_of_token(token: str) -> SignIn | None:
    """Return what a bearer token stands for, if that is live: a session, or a personal access token."""
    caller = _caller_of(token)
    return caller.sign_in if caller else None


@login_manager.user_loader  # type: ignore[untyped-decorator]
def _user_of_cookie(_user_id: str) -> User | Caller | None:
    return _caller()


@login_manager.request_loader  # type: ignore[untyped-decorator]
def _user_of_request(_request: Request) -> User | Caller | None:
    # Also a browser whose session Redis has lost: its cookie is all that is needed.
    return _caller()


def _caller() -> User | Caller | None:
    token = bearer_token()
    if token is not None:
        return _signed_in_by_token(_caller_of(token))
    browser = _browser()
    return None if browser.new else _signed_in_by_cookie(sessions.session_of_secret(browser.id))


def _caller_of(token: str) -> Caller | None:
    return access_tokens.caller_of(token) if token.startswith(access_tokens.PREFIX) else sessions.caller_of(token)


def _browser() -> BrowserSession:
    return cast(BrowserSession, session._get_current_object())  # type: ignore[attr-defined]


def _signed_in_by_cookie(found: Session | None) -> User | None:
    if found is None:
        return None
    _note(found, Scope.ADMIN, found.user_id, found.id)
    return found.user


def _signed_in_by_token(found: Caller | None) -> Caller | None:
    if found is not None:
        _note(found, found.scope, found.id, found.sign_in_id)
    return found


def _note(found: Session | Caller, scope: Scope, user_id: uuid.UUID, sign_in_id: uuid.UUID) -> None:
    g.sign_in, g.scope = found, scope
    structlog.contextvars.bind_contextvars(user_id=str(user_id), sign_in_id=str(sign_in_id))
