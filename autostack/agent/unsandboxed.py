"""What is left where bubblewrap cannot work, and the operator has builds run all the same (ALLOW_UNSANDBOXED_BUILDS).

User code is another user without privileges, behind the seccomp filter and limits, as in a container of its own
(`contained`); but it sees the machine's files and processes as every user does, and has its network. Its folders stand
where they stand in a sandbox, so builds of one machine take turns.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from autostack.agent.errors import AgentError, BuildFailed, InfrastructureError
from autostack.agent.host import Host
from autostack.agent.runner import try_out
from autostack.agent.sandbox import FIRST_UID, ContainersWorkspace

LOCK = Path("/run/autostack/unsandboxed.lock")
TMP = Path("/build-tmp")
TURN_INTERVAL_S = 0.5


@dataclass(frozen=True)
class OpenWorkspace(ContainersWorkspace):
    """The folders of the build whose turn it is."""

    turn: list[IO[str]] = field(default_factory=list)

    @property
    def tmp(self) -> Path:
        return TMP

    def take_turn(self, must_stop: Callable[[], str | None], wait: Callable[[], None]) -> None:
        """Wait until no other build has these folders; `wait` is called if one has. Raises BuildFailed if it must stop.

        The turn ends with this process.
        """
        LOCK.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        file = LOCK.open("w")
        told = False
        while not _lock(file):
            if not told:
                wait()
                told = True
            if reason := must_stop():
                file.close()
                raise BuildFailed(reason)
            time.sleep(TURN_INTERVAL_S)
        self.turn.append(file)

    def remove(self) -> None:
        """Delete the folders if it is this build's turn. Raises OSError, InfrastructureError if they are another's."""
        if not self.turn:
            return
        for folder in (self.source, self.home, self.tmp):
            if folder.exists() and not FIRST_UID <= folder.lstat().st_uid < FIRST_UID + 1000:
                raise InfrastructureError(f"{folder} is there already, and is no build's: builds here would need it")
        super().remove()


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def without_isolation(host: Host, folder: Path) -> Host:
    """Return how builds run on a machine whose operator lets them run without: in a sandbox, if that can be had.

    `folder` is for the trial. An ordinary user's builds would be that user, who may read all that Autostack may: they
    stay refused.
    """
    if host.is_container or not host.is_root:
        return host
    why = why_not(host, folder)
    return replace(host, bwrap=None, unisolated=" ".join(why.split())) if why else host


def why_not(host: Host, folder: Path) -> str | None:
    """Return what keeps a sandbox, with a network or without, from starting here."""
    try:
        return try_out(host, folder, may_share_network=True)
    except (AgentError, OSError) as error:
        return str(error)


def warning_of(host: Host) -> str | None:
    """Return what the log of each build says where it is not isolated."""
    if host.unisolated is None:
        return None
    return (
        f"THIS BUILD IS NOT ISOLATED: no sandbox starts here ({host.unisolated}), and ALLOW_UNSANDBOXED_BUILDS is "
        "set. It runs as another user among the machine's files and processes, and with its network"
    )
