"""Run git in the sandbox, with the way to one repository's server and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from autostack.agent import contained, git
from autostack.agent.context import Build
from autostack.agent.errors import CannotIsolate, InfrastructureError
from autostack.agent.network import Reach
from autostack.agent.order import Credential
from autostack.agent.process import Ended
from autostack.agent.runner import Runner, discard
from autostack.agent.sandbox import join_commands
from autostack.public_addresses import with_port

# How bubblewrap's own complaints begin: there was no sandbox for git to fail in.
BWRAP_SAYS = b"bwrap: "


def fetch(
    build: Build, runner: Runner, remote: git.Remote, commands: Iterable[Sequence[str]]
) -> git.RepositoryError | None:
    """Run commands that ask the repository's server; return why they failed, or None."""
    credential = build.order.repository.credential if remote.scheme != "file" else None
    script = join_commands(commands)
    error = _try(runner, remote, script, None)
    # A public repository never hears of the credential, and so is cloned though that be revoked.
    if isinstance(error, git.AuthenticationRequired) and credential:
        error = _try(runner, remote, script, credential)
    return error


def _try(runner: Runner, remote: git.Remote, script: str, credential: Credential | None) -> git.RepositoryError | None:
    # With a network of its own the name means another address in there: the one that was checked is given outside.
    known = replace(remote, addresses=()) if runner.egress else remote
    env = {"LC_ALL": "C", **git.environment(known, credential)}
    # A server may send remarks without end: of what git says only the last counts, if it fails.
    ended = runner.run(script, discard, env=env, reach=_reach(remote))
    _check_sandbox(ended)
    return git.explain(ended.tail.decode("utf-8", "replace"), remote) if ended.exit_code else None


def _check_sandbox(ended: Ended) -> None:
    if ended.tail.startswith(contained.SAYS.encode()):
        raise InfrastructureError(ended.tail.decode("utf-8", "replace").strip())
    if ended.tail.startswith(BWRAP_SAYS):
        raise CannotIsolate(" ".join(ended.tail.decode("utf-8", "replace").split())[:200])


def _reach(remote: git.Remote) -> Reach | None:
    """Return the one server that a clone may reach, by the addresses that were checked."""
    if remote.scheme == "file":
        return None
    allowed = tuple(with_port(host, remote.port) for host in (remote.host, *remote.addresses))
    return Reach(public=False, allowed=allowed, pins={remote.host: remote.addresses})
