"""Who may call a route. Every route declares it; one that doesn't keeps the application from starting."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TypeVar, cast

from flask import Flask, current_app, g, request
from flask_login import current_user

from autostack.accounts.callers import Caller
from autostack.accounts.models import User
from autostack.accounts.scopes import Scope
from autostack.errors import Forbidden, Unauthorized
from autostack.extensions import csrf

View = TypeVar("View", bound=Callable[..., object])

ACCESS_ATTRIBUTE = "_autostack_access"
SIGNED_IN = frozenset({"signed_in", "reader", "account_owner", "superuser"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Flask's own views cannot be decorated where they are made.
UNDECLARED_BUT_KNOWN = frozenset({"static"})


class MissingScope(Forbidden):
    code = "MISSING_SCOPE"


def public(view: View) -> View:
    """Declare a route that anybody may call."""
    return _declare(view, "public")


def signed_in(view: View) -> View:
    """Declare a route for signed-in users: a browser's session, or a bearer token under `/api/`.

    A personal access token needs the scope `read` to read, `deploy` to change anything.
    """
    return _declare(view, "signed_in")


def reader(view: View) -> View:
    """Declare a route as above that changes nothing of worth, though it is no GET: the scope `read` is enough."""
    return _declare(view, "reader")


def superuser(view: View) -> View:
    """Declare a route for signed-in admins."""
    return _declare(view, "superuser")


def account_owner(view: View) -> View:
    """Declare a route that acts on the account itself: as above, but a personal access token needs `admin`."""
    return _declare(view, "account_owner")


def by_agent_token(view: View) -> View:
    """Declare a route for build agents: the view itself checks the attempt's token."""
    return _declare(view, "agent")


def me() -> User:
    """Return the signed-in user. Raises Unauthorized where there is none."""
    found = _signed_in()
    return found.user if isinstance(found, Caller) else found


def my_id() -> uuid.UUID:
    """Return the id of the signed-in user, without a look at their row. Raises Unauthorized where there is none."""
    return _signed_in().id


def needs_sign_in(view: Callable[..., object]) -> bool:
    """Tell whether a route is for signed-in users only."""
    return getattr(view, ACCESS_ATTRIBUTE, None) in SIGNED_IN


def needs_superuser(view: Callable[..., object]) -> bool:
    """Tell whether a route is for admins only."""
    return getattr(view, ACCESS_ATTRIBUTE, None) == "superuser"


def needed_scope(view: Callable[..., object], method: str) -> Scope:
    """Return what a personal access token must be good for to call a route for signed-in users."""
    by_method = Scope.READ if method in SAFE_METHODS else Scope.DEPLOY
    return {"signed_in": by_method, "reader": Scope.READ}.get(getattr(view, ACCESS_ATTRIBUTE), Scope.ADMIN)


def bearer_token() -> str | None:
    """Return the request's bearer token. Only the API takes one; where it stands, cookies count for nothing."""
    header = request.authorization if request.path.startswith("/api/") else None
    return (header.token or "") if header is not None and header.type == "bearer" else None


def enforce(app: Flask) -> None:
    """Check before each request what its route declared, and at once that each route declared something."""
    undeclared = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in UNDECLARED_BUT_KNOWN and _declared(app, rule.endpoint) is None
    ]
    if undeclared:
        raise RuntimeError(f"No access rule is declared for {', '.join(sorted(undeclared))}")

    @app.before_request
    def require_declared_access() -> None:
        if request.endpoint is None:
            return
        view = app.view_functions[request.endpoint]
        if needs_sign_in(view):
            user = _signed_in()
            needed = needed_scope(view, request.method)
            if not g.scope.covers(needed):
                raise MissingScope(f"This takes a token with the scope `{needed}`.")
            if needs_superuser(view) and not user.is_superuser:
                raise Forbidden("Only admins may do this.")
        if _could_be_forged():
            csrf.protect()


def _signed_in() -> User | Caller:
    found = cast("User | Caller", current_user._get_current_object())
    if not found.is_authenticated:
        raise Unauthorized("The access token is not valid any more." if bearer_token() else "Sign in first.")
    return found


def _could_be_forged() -> bool:
    """Tell whether another site's page could have had a browser send this request with our cookie."""
    if request.path.startswith(("/agent/", "/webhooks/")) or bearer_token() is not None:
        return False
    return not request.path.startswith("/api/") or current_app.config["SESSION_COOKIE_NAME"] in request.cookies


def _declare(view: View, access: str) -> View:
    setattr(view, ACCESS_ATTRIBUTE, access)
    return view


def _declared(app: Flask, endpoint: str) -> str | None:
    return getattr(app.view_functions[endpoint], ACCESS_ATTRIBUTE, None)
