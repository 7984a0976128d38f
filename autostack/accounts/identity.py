"""Who asks: Flask-Login's loaders, by a browser's cookie or by the API's bearer token.

The cookie holds the secret of a row of `sessions`, which is looked up at each request: a copy of the cookie is
worthless once its owner has logged out.
"""

from __future__ import annotations

from typing import cast

import structlog
from flask import Request, g, session
from flask_login import current_user, login_user

from autostack.accounts import service
from autostack.accounts.models import Session, User
from autostack.errors import Unauthorized
from autostack.extensions import login_manager
from autostack.web.access import bearer_token

SECRET = "session_secret"  # noqa: S105 - the name of a key


def begin_browser_session(user: User, remember: bool) -> None:
    """Sign the browser in. What its cookie held before is dropped, so that nobody can have planted it."""
    _, secret = service.open_browser_session(user, remember)
    session.clear()
    session.permanent = remember
    session[SECRET] = secret
    login_user(user)


def end_session() -> None:
    """End the session that this request came with."""
    service.log_out(current_session())
    # A bearer token's session is not the one of the cookie that may have come along.
    if bearer_token() is None:
        session.clear()


def current_session() -> Session:
    """Return the session that this request came with. Raises Unauthorized where there is none."""
    if not current_user.is_authenticated or "sign_in" not in g:
        raise Unauthorized("Sign in first.")
    return cast(Session, g.sign_in)


@login_manager.user_loader  # type: ignore[untyped-decorator]
def _user_of_cookie(user_id: str) -> User | None:
    if bearer_token() is not None or SECRET not in session:
        return None
    return _signed_in_by(service.session_of_secret(session[SECRET]))


@login_manager.request_loader  # type: ignore[untyped-decorator]
def _user_of_bearer_token(request: Request) -> User | None:
    token = bearer_token()
    return _signed_in_by(service.session_of_access_token(token)) if token else None


def _signed_in_by(found: Session | None) -> User | None:
    g.sign_in = found
    if found is None:
        return None
    structlog.contextvars.bind_contextvars(user_id=str(found.user_id), session_id=str(found.id))
    return found.user
