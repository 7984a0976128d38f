"""A user's GitHub account, connected for deployments. Its tokens are stored encrypted, and shown to nobody."""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from autostack.accounts.holding import SignedIn, hold
from autostack.accounts.models import GitHubConnection, User
from autostack.accounts.providers import GITHUB_DEPLOYMENT_SCOPE, GitHub, Grant, Provider, configured
from autostack.agent.git import DEFAULT_PORTS
from autostack.agent.order import Credential
from autostack.encryption import Cipher
from autostack.errors import Forbidden
from autostack.extensions import db, settings
from autostack.github import revocations
from autostack.github.client import GitHubNotConnected

log = structlog.stdlib.get_logger(__name__)

# What GitHub calls whoever comes with a token.
TOKEN_USERNAME = "x-access-token"  # noqa: S105 - a name


class ScopeMissing(Forbidden):
    code = "SCOPE_MISSING"

    def __init__(self) -> None:
        super().__init__("GitHub did not allow access to your repositories, which deployments need. Connect it again.")


def connection_of(user: User) -> GitHubConnection | None:
    """Return a user's connection, if there is one."""
    return db.session.scalar(select(GitHubConnection).where(GitHubConnection.user_id == user.id))


def connected(user_id: uuid.UUID) -> GitHubConnection:
    """Return a user's connection. Raises GitHubNotConnected where there is none, or GitHub is set up no more."""
    connection = db.session.scalar(select(GitHubConnection).where(GitHubConnection.user_id == user_id))
    if connection is None or Provider.GITHUB not in configured(settings()):
        raise GitHubNotConnected
    return connection


def token_of(connection: GitHubConnection) -> str | None:
    """Return a connection's token in the clear: for GitHub alone, never for answers. None if its key is gone."""
    return _plain(connection.github_access_token)


def clone_credential(user_id: uuid.UUID, url: str) -> Credential | None:
    """Return what Git says to GitHub on a user's behalf. None for an address of any other server, or unconnected."""
    if _origin(url) != _origin(settings().github_url):
        return None
    try:
        token = token_of(connected(user_id))
    except GitHubNotConnected:
        return None
    return Credential(TOKEN_USERNAME, token) if token else None


def connect(who: SignedIn, grant: Grant) -> GitHubConnection:
    """Keep what GitHub granted somebody, instead of what it granted before.

    Raises ScopeMissing, ProviderTrouble, Unauthorized if the session has ended meanwhile.
    """
    if GITHUB_DEPLOYMENT_SCOPE not in grant.scopes:
        raise ScopeMissing
    cipher = Cipher.of(settings())
    # No transaction is open while a server far away takes its time.
    db.session.rollback()
    username = GitHub(settings()).username(grant)
    hold(who)
    former = db.session.scalar(
        select(GitHubConnection.github_access_token).where(GitHubConnection.user_id == who.user_id)
    )
    values = {
        "github_username": username,
        "github_access_token": cipher.encrypt(grant.access_token),
        "github_refresh_token": cipher.encrypt(grant.refresh_token) if grant.refresh_token else None,
        "token_expires_at": grant.expires_at,
    }
    kept = insert(GitHubConnection).values(user_id=who.user_id, **values)
    renewed = kept.on_conflict_do_update(
        index_elements=["user_id"], set_={**values, "connected_at": kept.excluded.connected_at}
    )
    connection = db.session.scalars(renewed.returning(GitHubConnection)).one()
    superseded = former if former and _plain(former) != grant.access_token else None
    if superseded:
        revocations.plan(superseded)
    db.session.commit()
    log.info("GitHub connected", user_id=str(who.user_id))
    if superseded:
        revocations.tell_queue()
    return connection


def disconnect(user: User) -> None:
    """Forget a user's connection, and have GitHub take its token back. There need not be one."""
    user_id = user.id
    disconnected = forget(user_id)
    db.session.commit()
    if disconnected:
        log.info("GitHub disconnected", user_id=str(user_id))
        revocations.tell_queue()


def forget(user_id: uuid.UUID) -> bool:
    """Forget a user's connection within the caller's transaction; `revocations.tell_queue` after its commit.

    False if there is none.
    """
    mine = delete(GitHubConnection).where(GitHubConnection.user_id == user_id)
    former = db.session.scalar(mine.returning(GitHubConnection.github_access_token))
    if former is None:
        return False
    revocations.plan(former)
    return True


def _plain(stored: str) -> str | None:
    try:
        return Cipher.of(settings()).decrypt(stored)
    except InvalidToken:
        # Its key is gone: the token is lost to us, but the connection can still be renewed or ended.
        return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None
