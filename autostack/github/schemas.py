"""What the GitHub API answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from autostack.accounts.models import GitHubConnection
from autostack.github.client import Repository
from autostack.github.repositories import Branches, Repositories
from autostack.web.schemas import Schema, Time

MAX_SEARCH_CHARACTERS = 255


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


class RepositoriesIn(Schema):
    """The query of a list of repositories: `q` looks into `owner/name`."""

    q: Annotated[str, StringConstraints(max_length=MAX_SEARCH_CHARACTERS)] = Field("", examples=["portfolio"])


class RepositoryOut(Schema):
    """A repository. Its `fullName` is what a deployment takes as `repository`."""

    id: str = Field(examples=["1296269"])
    name: str = Field(examples=["portfolio"])
    full_name: str = Field(examples=["ada/portfolio"])
    private: bool
    default_branch: str = Field(examples=["main"])
    pushed_at: Time | None

    @classmethod
    def of(cls, repository: Repository) -> RepositoryOut:
        return cls(**{**repository.model_dump(), "id": str(repository.id)})


class RepositoriesOut(Schema):
    """Repositories, last pushed to first. `truncated`: there are more than were looked through."""

    repositories: list[RepositoryOut]
    truncated: bool

    @classmethod
    def of(cls, repositories: Repositories) -> RepositoriesOut:
        found = [RepositoryOut.of(repository) for repository in repositories.found]
        return cls(repositories=found, truncated=repositories.truncated)


class BranchOut(Schema):
    name: str = Field(examples=["main"])
    commit: str = Field(examples=["a1b2c3d4e5f60718293a4b5c6d7e8f9012345678"])
    is_default: bool


class BranchesOut(Schema):
    """Branches, the default one first."""

    branches: list[BranchOut]
    truncated: bool

    @classmethod
    def of(cls, branches: Branches) -> BranchesOut:
        default = branches.repository.default_branch
        found = [
            BranchOut(name=branch.name, commit=branch.commit.sha, is_default=branch.name == default)
            for branch in branches.found
        ]
        return cls(branches=found, truncated=branches.truncated)
