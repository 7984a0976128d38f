"""The repositories and branches of a user's GitHub account, remembered for minutes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import structlog
from pydantic import BaseModel
from redis.exceptions import RedisError

from autostack.accounts.models import User
from autostack.extensions import db, redis, settings
from autostack.github import service
from autostack.github.client import Branch, GitHubApi, GitHubNotConnected, Repository, RepositoryNotFound

log = structlog.stdlib.get_logger(__name__)

# The spec's five minutes: a list may be ten requests to GitHub.
REPOSITORIES_FOR_S = 300
BRANCHES_FOR_S = 60


class Repositories(BaseModel, frozen=True):
    """Repositories, last pushed to first. `truncated`: there are more than GitHub was asked for."""

    found: list[Repository]
    truncated: bool


class Branches(BaseModel, frozen=True):
    """A repository with its branches, the default one first."""

    repository: Repository
    found: list[Branch]
    truncated: bool


Kept = TypeVar("Kept", Repositories, Branches)


def search(user: User, text: str = "", *, is_anew: bool = False) -> Repositories:
    """Return the user's repositories whose name, or owner's name, has `text`. Raises as `GitHubApi` does.

    With `is_anew` GitHub is asked, whatever is remembered.
    """

    def ask(api: GitHubApi) -> Repositories:
        found, is_all = api.repositories()
        return Repositories(found=found, truncated=not is_all)

    every = _remembered(user, "repositories", Repositories, ask, REPOSITORIES_FOR_S, is_anew=is_anew)
    wanted = text.strip().casefold()
    found = [repository for repository in every.found if wanted in repository.full_name.casefold()]
    return Repositories(found=found, truncated=every.truncated)


def branches(user: User, name: str) -> Branches:
    """Return the branches of a repository: `owner/name`, or the name of one of the user's.

    Raises as `GitHubApi` does.
    """
    full_name = name if "/" in name else named(user, name).full_name

    def ask(api: GitHubApi) -> Branches:
        repository = api.repository(full_name)
        found, is_all = api.branches(repository.full_name)
        first = sorted(found, key=lambda branch: branch.name != repository.default_branch)
        return Branches(repository=repository, found=first, truncated=not is_all)

    return _remembered(user, f"branches:{full_name.lower()}", Branches, ask, BRANCHES_FOR_S)


def named(user: User, name: str) -> Repository:
    """Return the user's repository of this name: their own before others' that they may read.

    Raises RepositoryNotFound, and as `GitHubApi` does.
    """
    own = f"{service.connected(user.id).github_username}/{name}".casefold()
    # It may be younger than what is remembered.
    found = _of_that_name(search(user, name), name) or _of_that_name(search(user, name, is_anew=True), name)
    if not found:
        raise RepositoryNotFound
    return min(found, key=lambda repository: repository.full_name.casefold() != own)


def _of_that_name(listed: Repositories, name: str) -> list[Repository]:
    return [repository for repository in listed.found if repository.name.casefold() == name.casefold()]


def api_of(user: User) -> GitHubApi:
    """Return GitHub as the user sees it. Raises GitHubNotConnected."""
    token = service.token_of(service.connected(user.id))
    if token is None:
        raise GitHubNotConnected("GitHub's token cannot be read any more. Connect it again.")
    return GitHubApi(settings(), token)


def _remembered(
    user: User, what: str, kind: type[Kept], ask: Callable[[GitHubApi], Kept], for_s: int, *, is_anew: bool = False
) -> Kept:
    connected_at: datetime = service.connected(user.id).connected_at
    # Whoever connects again, perhaps as somebody else, sees nothing of before.
    key = f"autostack:github:{user.id}:{connected_at.timestamp()}:{what}"
    kept = None if is_anew else _recall(key, kind)
    if kept is not None:
        return kept
    with api_of(user) as api:
        # A slow GitHub must not keep a connection of the database's pool waiting with it.
        db.session.commit()
        asked = ask(api)
    _remember(key, asked, for_s)
    return asked


def _recall(key: str, kind: type[Kept]) -> Kept | None:
    try:
        stored = redis().get(key)
        return kind.model_validate_json(stored) if isinstance(stored, bytes) else None
    except (RedisError, ValueError):
        # Away, or written by another version: GitHub knows.
        return None


def _remember(key: str, asked: Repositories | Branches, for_s: int) -> None:
    try:
        redis().set(key, asked.model_dump_json(), ex=for_s)
    except RedisError as error:
        log.warning("GitHub's answer is not remembered", error=type(error).__name__)
