"""Child processes that never outlive their parent, whatever kills it. Linux only; imports nothing of autostack.

Two of the kernel's means, see prctl(2):

- `PR_SET_PDEATHSIG`: a child is signalled when its parent dies. It reaches direct children only, and is lost when a
  program changes its user id on the way (setpriv, sudo): bubblewrap has `--die-with-parent` for that.
- `PR_SET_CHILD_SUBREAPER`: orphans among the descendants become children of the process that asked for it, which can
  then find and end them, though they had left their process group or session.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# Loaded here and not between fork and exec, where only system calls are safe.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Have this process sent `signal_number` once `parent_pid`, its parent, is dead. Call it first thing after fork."""
    _control(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        # The parent died before the kernel knew of our wish, and will not die again.
        os.kill(os.getpid(), signal_number)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies."""
    _control(PR_SET_CHILD_SUBREAPER, 1)


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; it is killed when this process dies. Raises OSError.

    The kernel watches the thread that calls this, not only its process: call it from a thread that outlives the child,
    best the main one.
    """
    parent_pid = os.getpid()
    return subprocess.Popen(
        list(command),
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(parent_pid),
    )


def end_group(leader_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Signal the whole process group that `leader_pid` leads or led. Nothing happens when none of it is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal_number)


def end_descendants(timeout_s: float = 5, spared: frozenset[int] = frozenset()) -> bool:
    """Kill everything below this process, orphans that it adopted too, but the children that are `spared`.

    Tell whether all were gone in time.
    """
    deadline = time.monotonic() + timeout_s
    while descendants := _descendants(spared):
        for process in descendants:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
        psutil.wait_procs(descendants, timeout=0.1)
        reap(descendants)
        if time.monotonic() > deadline:
            return False
    return True


def _descendants(spared: frozenset[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.Process().children():
        if process.pid not in spared:
            found.append(process)
            with contextlib.suppress(psutil.NoSuchProcess):
                found += process.children(recursive=True)
    return found


def reap(processes: Sequence[psutil.Process]) -> None:
    """Collect those that have ended among our direct children, so that no zombie stays."""
    for process in processes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)


def _control(option: int, value: int) -> None:
    if _prctl(option, int(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
