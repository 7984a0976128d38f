"""Clone: one commit of the repository, into the sandbox's source folder."""

from __future__ import annotations

from dataclasses import dataclass

from autostack.agent import git
from autostack.agent.context import Build
from autostack.agent.errors import BuildFailed, InfrastructureError
from autostack.agent.order import RepositoryOrder
from autostack.agent.runner import discard
from autostack.agent.sandbox import join_commands

MAX_MESSAGE_CHARS = 2_000
# How bubblewrap's own complaints begin: there was no sandbox for git to fail in.
BWRAP_SAYS = b"bwrap: "
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
        _fetch(build, remote)
    return _head(build)


def _title(order: RepositoryOrder, remote: git.Remote) -> str:
    name = order.url.removeprefix("file://") if remote.scheme == "file" else remote.display
    parts = [f"Branch: {order.branch}" if order.branch else "", f"Commit: {order.commit[:7]}" if order.commit else ""]
    where = ", ".join(part for part in parts if part)
    return f"Cloning {name}" + (f" ({where})" if where else "")


def _fetch(build: Build, remote: git.Remote) -> None:
    order = build.order.repository
    runner = build.runner
    if remote.scheme == "file" and order.local_path:
        runner = runner.with_sandbox(readable={**runner.sandbox.readable, git.LOCAL_REPOSITORY: order.local_path})
    env = {"LC_ALL": "C", **git.environment(remote, order.credential)}
    # A server may send remarks without end: of what git says only the last counts, if it fails.
    ended = runner.run(join_commands(git.clone_commands(order, remote)), discard, env=env)
    if ended.tail.startswith(BWRAP_SAYS):
        raise InfrastructureError(ended.tail.decode("utf-8", "replace").strip())
    if ended.exit_code != 0:
        raise BuildFailed(str(git.explain(ended.tail.decode("utf-8", "replace"), remote)))


def _head(build: Build) -> Commit:
    """Ask for the commit in a sandbox without the credential."""
    text = build.runner.capture(SHOW_COMMIT).decode("utf-8", "replace")
    commit_hash, _, rest = text.partition("\n")
    author, _, message = rest.partition("\n")
    if not git.COMMIT.fullmatch(commit_hash):
        raise BuildFailed("The clone has no commit")
    return Commit(commit_hash, author[:200], message.strip()[:MAX_MESSAGE_CHARS])
