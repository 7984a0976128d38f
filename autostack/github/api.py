"""The JSON API of a user's connection with GitHub."""

from __future__ import annotations

from flask import Blueprint

from autostack.accounts import oauth, oauth_session
from autostack.accounts.oauth import Purpose
from autostack.accounts.providers import Provider, ProviderNotConfigured, ProviderTrouble
from autostack.github import service
from autostack.github.schemas import ConnectionOut, ConnectOut
from autostack.web.access import account_owner, me, signed_in
from autostack.web.operations import operation

api = Blueprint("github_api", __name__, url_prefix="/api/github")


@api.get("/connection")
@signed_in
@operation()
def show_connection() -> ConnectionOut:
    """Show whether GitHub is connected for deployments."""
    return ConnectionOut.of(service.connection_of(me()))


@api.get("/connection-status")
@signed_in
@operation()
def show_connection_status() -> ConnectionOut:
    """Show whether GitHub is connected, as the dashboard asks.

    The same as `GET /api/github/connection`.
    """
    return ConnectionOut.of(service.connection_of(me()))


@api.post("/connect")
@account_owner
@operation(raises=[ProviderNotConfigured, ProviderTrouble])
def connect() -> ConnectOut:
    """Begin to connect GitHub.

    Answers where GitHub asks its user. Open it in the browser that this answer came to, signed in there: only that one
    can come back with a yes.
    """
    url = oauth.begin(Provider.GITHUB, Purpose.CONNECT, oauth_session.browser_secret(), me())
    return ConnectOut(authorization_url=url)


@api.delete("/disconnect")
@account_owner
@operation()
def disconnect() -> None:
    """Disconnect GitHub.

    Its token is forgotten, here and at GitHub. Needs no connection to succeed.
    """
    service.disconnect(me())
