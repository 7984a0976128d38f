"""GitHub's REST API, asked with a user's token for what can be deployed.

What it answers is checked against models here: nothing else of it travels on, and whatever goes wrong becomes an error
of ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Self, TypeVar, cast
from urllib.parse import quote

import httpx2
import structlog
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter

from autostack.accounts.providers import GITHUB_HEADERS
from autostack.errors import AutostackError, Conflict, NotFound
from autostack.outbound import BoundedTransport
from autostack.settings import Settings

log = structlog.stdlib.get_logger(__name__)

PAGE_ITEMS = 100
MAX_PAGES = 10
# A hundred repositories are about 600 kB.
MAX_ANSWER_BYTES = 8_000_000
FULL_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,99}/[A-Za-z0-9._-]{1,100}", re.ASCII)
RAW = {"Accept": "application/vnd.github.raw+json"}
# What httpx2, json and pydantic (a ValueError) raise for an answer that is none.
TROUBLE = (httpx2.HTTPError, httpx2.InvalidURL, ValueError, RecursionError)

Item = TypeVar("Item")


class GitHubNotConnected(Conflict):
    code = "GITHUB_NOT_CONNECTED"

    def __init__(self, message: str = "Connect GitHub first.") -> None:
        super().__init__(message)


class GitHubUnavailable(AutostackError):
    """GitHub is away, too slow, or answers what nobody can use."""

    code = "GITHUB_UNAVAILABLE"
    status = 502

    def __init__(self, message: str = "GitHub did not give a usable answer. Try again in a moment.") -> None:
        super().__init__(message)


class GitHubBusy(GitHubUnavailable):
    """GitHub has answered enough for now."""

    status = 503

    def __init__(self) -> None:
        super().__init__("GitHub takes no more requests of yours for a while. Try again in some minutes.")


class RepositoryNotFound(NotFound):
    code = "GITHUB_REPOSITORY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("GitHub shows you no such repository.")


class Repository(BaseModel, frozen=True):
    """A repository that its user may read."""

    id: int
    name: str
    full_name: Annotated[str, StringConstraints(pattern=f"^{FULL_NAME.pattern}$")]
    private: bool
    default_branch: str = Field(min_length=1)
    pushed_at: datetime | None = None


class _Commit(BaseModel, frozen=True):
    sha: str


class Branch(BaseModel, frozen=True):
    name: str = Field(min_length=1)
    commit: _Commit


class _Entry(BaseModel):
    name: str
    type: str


class GitHubApi:
    """One user's view of GitHub, for the length of a `with` block. Every method raises this module's errors."""

    def __init__(self, settings: Settings, token: str) -> None:
        self._base, timeout_s = settings.github_api, settings.oauth_timeout_s
        self._timeout_s = timeout_s
        self._http = httpx2.Client(
            timeout=timeout_s,
            transport=BoundedTransport(timeout_s, MAX_ANSWER_BYTES),
            headers={
                **GITHUB_HEADERS,
                "Authorization": f"Bearer {token}",
                "User-Agent": "Autostack",
                "Accept-Encoding": "identity",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def repositories(self) -> tuple[list[Repository], bool]:
        """Return what the user may read, last pushed to first, and whether that is all."""
        return self._pages("/user/repos", {"sort": "pushed", "direction": "desc"}, Repository)

    def repository(self, full_name: str) -> Repository:
        return cast(Repository, self._read(Repository, self._get(self._of(full_name))))

    def branches(self, full_name: str) -> tuple[list[Branch], bool]:
        """Return a repository's branches as GitHub orders them, and whether that is all."""
        return self._pages(f"{self._of(full_name)}/branches", {}, Branch)

    def files(self, full_name: str, folder: str, branch: str) -> list[str]:
        """Return the names of the files in a folder."""
        answer = self._get(self._contents(full_name, folder), {"ref": branch})
        entries: list[_Entry] = self._read(list[_Entry], answer)
        return [entry.name for entry in entries if entry.type == "file"]

    def file(self, full_name: str, path: str, branch: str) -> bytes:
        """Return what is in a file."""
        return self._get(self._contents(full_name, path), {"ref": branch}, RAW).content

    def _pages(self, path: str, query: Mapping[str, str], kind: type[Item]) -> tuple[list[Item], bool]:
        found: list[Item] = []
        ends = time.monotonic() + self._timeout_s
        answer = self._get(path, {**query, "per_page": str(PAGE_ITEMS)})
        for number in range(1, MAX_PAGES + 1):
            found += self._read(list[kind], answer)  # type: ignore[valid-type]
            following = answer.links.get("next", {}).get("url")
            if following is None:
                return found, True
            if number == MAX_PAGES or time.monotonic() > ends:
                break
            # The token is for no other host, whatever the header says.
            if not following.startswith(f"{self._base}/"):
                raise GitHubUnavailable
            answer = self._get(following.removeprefix(self._base))
        return found, False

    def _get(
        self, path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        try:
            answer = self._http.get(f"{self._base}{path}", params=query, headers=headers)
        except TROUBLE as error:
            log.warning("no usable answer", provider="github", error=type(error).__name__)
            raise GitHubUnavailable from None
        if not answer.is_success:
            raise _refusal(answer)
        return answer

    @staticmethod
    def _read(kind: Any, answer: httpx2.Response) -> Any:
        try:
            return TypeAdapter(kind).validate_json(answer.content)
        except ValueError as error:
            log.warning("no usable answer", provider="github", error=type(error).__name__)
            raise GitHubUnavailable from None

    @staticmethod
    def _of(full_name: str) -> str:
        if not FULL_NAME.fullmatch(full_name) or full_name.rpartition("/")[2] in {".", ".."}:
            raise RepositoryNotFound
        return f"/repos/{full_name}"

    def _contents(self, full_name: str, path: str) -> str:
        return f"{self._of(full_name)}/contents/{quote(path.strip('/'))}"


def _refusal(answer: httpx2.Response) -> AutostackError:
    status = answer.status_code
    enough = answer.headers.get("X-RateLimit-Remaining") == "0" or "Retry-After" in answer.headers
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.FORBIDDEN and enough):
        return GitHubBusy()
    if status == HTTPStatus.UNAUTHORIZED:
        return GitHubNotConnected("GitHub does not accept the connection any more. Connect it again.")
    # An organisation that asks for a sign-in of its own refuses; a repository that was renamed is elsewhere.
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.CONFLICT}:
        return RepositoryNotFound()
    log.warning("no usable answer", provider="github", said=status)
    return GitHubUnavailable()
