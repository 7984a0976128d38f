"""The JSON API of a user's connection with GitHub."""

from __future__ import annotations

from flask import Blueprint

from autostack.accounts import oauth, oauth_session
from autostack.accounts.oauth import Errand, Purpose
from autostack.accounts.providers import Provider, ProviderNotConfigured, ProviderTrouble
from autostack.github import repositories, service
from autostack.github.client import GitHubBusy, GitHubNotConnected, GitHubUnavailable, RepositoryNotFound
from autostack.github.schemas import BranchesOut, ConnectionOut, ConnectOut, RepositoriesIn, RepositoriesOut
from autostack.web.access import account_owner, me, signed_in
from autostack.web.operations import operation

api = Blueprint("github_api", __name__, url_prefix="/api/github")

TROUBLE = [GitHubNotConnected, GitHubUnavailable, GitHubBusy]


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
    url = oauth.begin(Provider.GITHUB, Errand(Purpose.CONNECT, me().id), oauth_session.browser_secret())
    return ConnectOut(authorization_url=url)


@api.delete("/disconnect")
@account_owner
@operation()
def disconnect() -> None:
    """Disconnect GitHub.

    Its token is forgotten here, and GitHub is asked to take it back. Needs no connection to succeed.
    """
    service.disconnect(me())


@api.get("/repos")
@signed_in
@operation(raises=TROUBLE)
def list_repositories(query: RepositoriesIn) -> RepositoriesOut:
    """List the repositories that you can deploy.

    What your connected GitHub account may read, last pushed to first; of very many, those pushed to last.
    """
    return RepositoriesOut.of(repositories.search(me(), query.q))


@api.get("/repos/<repo>/branches")
@signed_in
@operation(raises=[*TROUBLE, RepositoryNotFound])
def list_branches(repo: str) -> BranchesOut:
    """List the branches of a repository of yours, named by its name alone."""
    return BranchesOut.of(repositories.branches(me(), repo))


@api.get("/repos/<owner>/<repo>/branches")
@signed_in
@operation(raises=[*TROUBLE, RepositoryNotFound])
def list_branches_of(owner: str, repo: str) -> BranchesOut:
    """List the branches of a repository, named by its owner and name."""
    return BranchesOut.of(repositories.branches(me(), f"{owner}/{repo}"))
