"""A user's GitHub account, connected for deployments. Its tokens are stored encrypted, and shown to nobody."""

from __future__ import annotations

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from autostack.accounts.models import GitHubConnection, User
from autostack.accounts.providers import GITHUB_DEPLOYMENT_SCOPE, GitHub, Grant, Provider, ProviderTrouble, configured
from autostack.encryption import Cipher
from autostack.errors import Forbidden
from autostack.extensions import db, settings

log = structlog.stdlib.get_logger(__name__)


class ScopeMissing(Forbidden):
    code = "SCOPE_MISSING"

    def __init__(self) -> None:
        super().__init__("GitHub did not allow access to your repositories, which deployments need. Connect it again.")


def connection_of(user: User) -> GitHubConnection | None:
    """Return a user's connection, if there is one."""
    return db.session.scalar(select(GitHubConnection).where(GitHubConnection.user_id == user.id))


def connect(user: User, grant: Grant) -> GitHubConnection:
    """Keep what GitHub granted a user, instead of what it granted before. Raises ScopeMissing, ProviderTrouble."""
    if GITHUB_DEPLOYMENT_SCOPE not in grant.scopes:
        raise ScopeMissing
    user_id, cipher = user.id, Cipher.of(settings())
    former = _access_token(connection_of(user))
    db.session.rollback()
    values = {
        "github_username": GitHub(settings()).username(grant),
        "github_access_token": cipher.encrypt(grant.access_token),
        "github_refresh_token": cipher.encrypt(grant.refresh_token) if grant.refresh_token else None,
        "token_expires_at": grant.expires_at,
    }
    kept = insert(GitHubConnection).values(user_id=user_id, **values)
    renewed = kept.on_conflict_do_update(
        index_elements=["user_id"], set_={**values, "connected_at": kept.excluded.connected_at}
    )
    connection = db.session.scalars(renewed.returning(GitHubConnection)).one()
    db.session.commit()
    log.info("GitHub connected", user_id=str(user_id))
    if former and former != grant.access_token:
        _revoke(former)
    return connection


def disconnect(user: User) -> None:
    """Forget a user's connection, and have GitHub forget its token. There need not be one."""
    user_id, former = user.id, _access_token(connection_of(user))
    db.session.execute(delete(GitHubConnection).where(GitHubConnection.user_id == user_id))
    db.session.commit()
    if former:
        log.info("GitHub disconnected", user_id=str(user_id))
        _revoke(former)


def _access_token(connection: GitHubConnection | None) -> str | None:
    try:
        return Cipher.of(settings()).decrypt(connection.github_access_token) if connection else None
    except InvalidToken:
        # Its key is gone: the token is lost to us, but the connection can still be renewed or ended.
        return None


def _revoke(access_token: str) -> None:
    """What GitHub does not forget now the user can take back there: our side is done."""
    if Provider.GITHUB not in configured(settings()):
        return
    try:
        GitHub(settings()).revoke(access_token)
    except ProviderTrouble:
        log.warning("GitHub keeps a token that is used no more")
