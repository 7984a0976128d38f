"""Where builds run. `local`: the agent as a child of a worker on this machine, which waits for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from autostack.agent.__main__ import EXIT_ENDED
from autostack.agent.files import remove_tree
from autostack.builds import service
from autostack.builds.service import OpenedAttempt
from autostack.errors import Unavailable
from autostack.local import child
from autostack.settings import Settings

log = structlog.stdlib.get_logger(__name__)

MAX_SLOTS = 1_000
# What the agent needs of our environment: where programs and certificates are. No address or secret of a service.
PASSED_ON = ("PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "VIRTUAL_ENV")


def run_locally(attempt: OpenedAttempt, settings: Settings) -> None:
    """Run the agent for an attempt and wait for its end. An agent that ends without a word has lost its attempt."""
    with _slot(settings.data_dir) as slot:
        work_dir = settings.data_dir.absolute() / "builds" / str(slot)
        # What a worker that was killed left behind: nobody else has this slot.
        remove_tree(work_dir)
        work_dir.mkdir(parents=True)
        try:
            exit_code = _run_agent(attempt, settings, slot, work_dir)
        finally:
            remove_tree(work_dir)
    if exit_code == EXIT_ENDED:
        log.info("attempt had ended", attempt_id=str(attempt.id))
    elif exit_code != 0:
        service.lose(attempt.id, f"The build agent ended unexpectedly ({_how(exit_code)})")


def _run_agent(attempt: OpenedAttempt, settings: Settings, slot: int, work_dir: Path) -> int:
    command = [sys.executable, "-m", "autostack.agent", "--api-url", settings.agents_reach_web_at]
    command += ["--attempt", str(attempt.id), "--work-dir", str(work_dir), "--slot", str(slot)]
    command += ["--tools-dir", str(settings.data_dir.absolute() / "tools")]
    command += ["--modules-dir", str(settings.data_dir.absolute() / "modules")]
    command += ["--mirrors-dir", str(settings.data_dir.absolute() / "mirrors")]
    command += ["--allow-unsandboxed"] if settings.allow_unsandboxed_builds else []
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    agent = child.start(command, env=env, cwd=work_dir, stdin=subprocess.PIPE)
    assert agent.stdin is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(BrokenPipeError), agent.stdin as stdin:
        stdin.write(f"{attempt.bootstrap_token}\n".encode())
    return agent.wait()


@contextlib.contextmanager
def _slot(data_dir: Path) -> Iterator[int]:
    """Hold a number that no other agent of this machine's data folder has: it decides the sandbox's user id."""
    folder = data_dir.absolute() / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(MAX_SLOTS):
        with (folder / str(number)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise Unavailable(f"{MAX_SLOTS} builds run on this machine already.")


def _how(exit_code: int) -> str:
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
