"""Runs scripts in one attempt's sandbox, with its log and its guards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from autostack.agent import process
from autostack.agent.errors import BuildFailed, CannotIsolate
from autostack.agent.files import remove_tree
from autostack.agent.host import Host
from autostack.agent.network import Egress, Entrance, Reach
from autostack.agent.order import Limits
from autostack.agent.process import Ended, Guard, Kill
from autostack.agent.sandbox import (
    FIRST_EGRESS_UID,
    FIRST_UID,
    SOURCE,
    Sandbox,
    Workspace,
    build_argv,
    build_script,
)
from autostack.agent.seccomp import build_filter

# What a trial may use: next to nothing.
TRIAL = Limits(**dict.fromkeys((field.name for field in fields(Limits)), 10_000))


@dataclass(frozen=True)
class Runner:
    """What every script of this attempt has in common.

    Without `egress` scripts have the network that the agent has: in a container that is there for one build alone, and
    where the operator allows it.
    """

    sandbox: Sandbox
    guards: Sequence[Guard]
    egress: Egress | None

    def with_sandbox(self, **changes: object) -> Runner:
        """Return a runner whose sandbox differs, such as in what is on its PATH."""
        return replace(self, sandbox=replace(self.sandbox, **changes))  # type: ignore[arg-type]

    def run(
        self,
        script: str,
        write: Callable[[bytes], None],
        *,
        folder: str = SOURCE,
        env: Mapping[str, str] | None = None,
        feed: Iterable[bytes] | None = None,
        reach: Reach | None = None,
    ) -> Ended:
        """Run a script to its end; without `reach` it has no network. Raises BuildFailed when a limit was reached."""
        group = self.sandbox.group
        refused = group.refused_processes() if group else 0
        try:
            with self._prepared(script, folder, env, reach) as (argv, descriptors):
                ended = process.run(
                    argv, pass_fds=descriptors, write=write, feed=feed, guards=self.guards, kill=self._kill
                )
        except process.Stopped as stopped:
            raise BuildFailed(str(stopped)) from None
        if group is None:
            return ended
        # It may have ended before a guard looked.
        if reason := group.out_of_memory():
            raise BuildFailed(reason)
        return replace(ended, lacked_processes=group.refused_processes() > refused)

    def capture(self, script: str, *, max_bytes: int = 100_000) -> bytes:
        """Return the first of what a script prints, or nothing if it fails."""
        output = bytearray()

        def keep(chunk: bytes) -> None:
            output.extend(chunk[: max_bytes - len(output)])

        ended = self.run(script, keep)
        return bytes(output) if ended.exit_code == 0 else b""

    def stream(self, script: str) -> Iterator[bytes]:
        """Yield what a script prints. Raises InfrastructureError at its end if it failed."""
        with self._prepared(script, SOURCE, None, None) as (argv, descriptors):
            yield from process.stream(argv, pass_fds=descriptors, guards=self.guards, kill=self._kill)

    @property
    def _kill(self) -> Kill:
        return process.kill_contained if self.sandbox.host.is_container else process.kill_sandbox

    @contextmanager
    def _prepared(
        self, script: str, folder: str, env: Mapping[str, str] | None, reach: Reach | None
    ) -> Iterator[tuple[list[str], list[int]]]:
        own = {**self.sandbox.environment(), **(reach.variables if reach and self.egress else {})}
        # The owner's variables come first in nothing that the sandbox itself stands on.
        fixed = {name: own[name] for name in ("HOME", "PATH", "TMPDIR")}
        text = build_script(script, {**own, **(env or {}), **fixed})
        seccomp = build_filter()
        descriptors = [_memory_file(content) for content in (text.encode(), seccomp) if content is not None]
        seccomp_fd = descriptors[1] if seccomp is not None else None
        try:
            with self._network(reach) as entrance:
                argv = build_argv(
                    self.sandbox, command_fd=descriptors[0], seccomp_fd=seccomp_fd, folder=folder, entrance=entrance
                )
                yield argv, [*descriptors, *(entrance.descriptors if entrance else [])]
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    @contextmanager
    def _network(self, reach: Reach | None) -> Iterator[Entrance | None]:
        if reach is None or self.egress is None:
            yield None
            return
        with self.egress.network(reach) as entrance:
            yield entrance


def can_isolate_networks(egress: Egress) -> bool:
    """Tell whether this machine makes networks for sandboxes. Raises InfrastructureError."""
    try:
        with egress.network(Reach(public=False)):
            return True
    except CannotIsolate:
        return False


def try_out(host: Host, folder: Path, *, may_share_network: bool = False) -> str | None:
    """Run nothing at all in a sandbox whose folders are in `folder`; return what kept it from that, or None.

    Raises CannotIsolate or InfrastructureError if no network can be made for it, unless it may share the machine's.
    """
    workspace = Workspace(folder)
    workspace.make(FIRST_UID, as_root=host.is_root)
    egress = Egress(say=lambda _: None, uid=FIRST_EGRESS_UID)
    try:
        shares = may_share_network and not can_isolate_networks(egress)
        sandbox = Sandbox(host, workspace, FIRST_UID, TRIAL, shares_network=shares)
        runner = Runner(sandbox, guards=(), egress=None if shares else egress)
        ended = runner.run("true", discard, reach=Reach(public=False))
    finally:
        egress.close()
        remove_tree(folder)
    return None if ended.exit_code == 0 else ended.tail.decode("utf-8", "replace").strip() or "it failed without a word"


def discard(_chunk: bytes) -> None:
    """Take a script's output and keep none of it."""


def _memory_file(content: bytes) -> int:
    """Return a descriptor from which `content` can be read: bwrap reads it to its end."""
    descriptor = os.memfd_create("autostack")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
