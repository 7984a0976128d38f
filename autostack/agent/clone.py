"""Clone: one commit of the repository, into the sandbox's source folder."""

from __future__ import annotations

from dataclasses import dataclass

from autostack.agent import git, mirror
from autostack.agent.context import Build
from autostack.agent.errors import BuildFailed
from autostack.agent.fetch import fetch
from autostack.agent.order import RepositoryOrder

MAX_MESSAGE_CHARS = 2_000
SHOW_COMMIT = "git log -1 --no-show-signature --encoding=UTF-8 --format=%H%n%an%n%B"


@dataclass(frozen=True)
class Commit:
    hash: str
    author: str
    message: str


def clone(build: Build) -> Commit:
    """Fetch the commit that the order names and check it out. Raises BuildFailed with a reason for the owner."""
    order = build.order.repository
    try:
        remote = git.locate(order)
    except git.RepositoryError as error:
        raise BuildFailed(str(error)) from None
    build.log.line(_title(order, remote))
    with build.timed("Cloning completed: "):
        mirrored = mirror.clone_by(build, remote)
        if not mirrored:
            _clone(build, remote)
    commit = _head(build)
    if not mirrored:
        mirror.make_from(build, remote, commit.hash)
    return commit


def _title(order: RepositoryOrder, remote: git.Remote) -> str:
    name = order.url.removeprefix("file://") if remote.scheme == "file" else remote.display
    parts = [f"Branch: {order.branch}" if order.branch else "", f"Commit: {order.commit[:7]}" if order.commit else ""]
    where = ", ".join(part for part in parts if part)
    return f"Cloning {name}" + (f" ({where})" if where else "")


def _clone(build: Build, remote: git.Remote) -> None:
    order = build.order.repository
    runner = build.runner
    if remote.scheme == "file" and order.local_path:
        runner = runner.with_sandbox(readable={**runner.sandbox.readable, git.LOCAL_REPOSITORY: order.local_path})
    error = fetch(build, runner, remote, git.clone_commands(remote, git.wanted(order)))
    if error:
        raise BuildFailed(str(error))


def _head(build: Build) -> Commit:
    """Ask for the commit in a sandbox without the credential."""
    text = build.runner.capture(SHOW_COMMIT).decode("utf-8", "replace")
    commit_hash, _, rest = text.partition("\n")
    author, _, message = rest.partition("\n")
    if not git.COMMIT.fullmatch(commit_hash):
        raise BuildFailed("The clone has no commit")
    return Commit(commit_hash, author[:200], message.strip()[:MAX_MESSAGE_CHARS])
