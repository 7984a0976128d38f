"""Repositories as their owners write them: checked in form, brought to a normal form, and reached."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from autostack.agent.git import DEFAULT_PORTS, Refs, RepositoryError, check_branch, is_local, ls_remote, parse_url
from autostack.agent.order import Credential
from autostack.errors import Invalid
from autostack.settings import Settings

MAX_URL_CHARACTERS = 255
MAX_BRANCH_CHARACTERS = 100
GITHUB = "github.com"
# Managed accounts of companies have `_` before the company's short name.
OWNER_AND_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,38})/[A-Za-z0-9._-]{1,100}")
# Hosts that read paths without regard to case.
CASELESS_HOSTS = frozenset({GITHUB, "gitlab.com", "bitbucket.org"})


@dataclass(frozen=True)
class Repository:
    """`url` is what is cloned; `key` is the same for every spelling of one repository; `name` is its last part."""

    url: str
    key: str
    name: str


def is_bare_name(reference: str) -> bool:
    """Tell whether `reference` is neither an address nor `owner/name`, and so the name of something known already."""
    return "/" not in reference and ":" not in reference


def parse(reference: str, settings: Settings) -> Repository:
    """Read a Git URL or GitHub's `owner/name`. Raises Invalid, naming the field `repository`."""
    url = f"{settings.github_url.rstrip('/')}/{reference}" if OWNER_AND_NAME.fullmatch(reference) else reference
    if len(url) > MAX_URL_CHARACTERS:
        raise Invalid.field("repository", f"The repository's address has at most {MAX_URL_CHARACTERS} characters.")
    if is_local(url, local_path(settings)):
        return Repository(url, url, _name(url))
    return Repository(url, _key(url, settings.repo_hosts_allowed), _name(url))


def reach(repository: Repository, branch: str | None, settings: Settings, credential: Credential | None = None) -> str:
    """Ask the repository for `branch`, or for its default one; return its name.

    Raises Invalid, naming `repository` if it cannot be reached or is empty, `branch` if that is wrong or missing.
    """
    try:
        if branch is not None:
            check_branch(branch)
        refs = look_at(repository, settings, credential)
        found = check_branch(branch or refs.default_branch or "")
    except RepositoryError as error:
        raise Invalid.field(error.field, f"{error}.") from None
    if found not in refs.branches:
        raise Invalid.field("branch", f"The repository has no branch {found}.")
    if len(found) > MAX_BRANCH_CHARACTERS:
        raise Invalid.field("branch", f"A branch's name has at most {MAX_BRANCH_CHARACTERS} characters here.")
    return found


def look_at(repository: Repository, settings: Settings, credential: Credential | None = None) -> Refs:
    """Ask the repository for its branches. Raises Invalid, naming `repository`."""
    try:
        return ls_remote(
            repository.url,
            hosts_allowed=settings.repo_hosts_allowed,
            credential=credential,
            local_path=local_path(settings),
            timeout_s=settings.repo_timeout_s,
        )
    except RepositoryError as error:
        raise Invalid.field(error.field, f"{error}.") from None


def local_path(settings: Settings) -> str | None:
    """Return the one folder of this machine that may be cloned, if there is one."""
    return unquote(urlsplit(settings.example_repository).path) if settings.example_repository else None


def _key(url: str, hosts_allowed: Collection[str]) -> str:
    """Return host and path without what servers do not tell apart: scheme, default port, `.git`, slashes."""
    try:
        remote = parse_url(url, hosts_allowed)
    except RepositoryError as error:
        raise Invalid.field("repository", f"{error}.") from None
    segments = [segment for segment in urlsplit(url).path.split("/") if segment]
    if "." in segments or ".." in segments:
        raise Invalid.field("repository", "The repository's address must not contain . or .. as a folder.")
    path = "/".join(segments).removesuffix(".git")
    host = f"[{remote.host}]" if ":" in remote.host else remote.host
    port = "" if remote.port == DEFAULT_PORTS[remote.scheme] else f":{remote.port}"
    return f"{host}{port}/{path.lower() if remote.host in CASELESS_HOSTS else path}"


def _name(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2].removesuffix(".git")
