"""What the GitHub API answers."""

from __future__ import annotations

from pydantic import Field

from autostack.accounts.models import GitHubConnection
from autostack.web.schemas import Schema, Time


class ConnectionOut(Schema):
    connected: bool
    username: str | None = Field(examples=["ada"])
    connected_at: Time | None

    @classmethod
    def of(cls, connection: GitHubConnection | None) -> ConnectionOut:
        return cls(
            connected=connection is not None,
            username=connection.github_username if connection else None,
            connected_at=connection.connected_at if connection else None,
        )


class ConnectOut(Schema):
    """Where to open GitHub, in the browser that asked."""

    authorization_url: str = Field(examples=["https://github.com/login/oauth/authorize?client_id=…"])
