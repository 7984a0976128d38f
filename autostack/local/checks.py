"""What `autostack up` makes sure of before it starts anything, each with one line for the reader when it is not so."""

from __future__ import annotations

import errno
import fcntl
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from autostack.agent.errors import AgentError
from autostack.agent.host import inspect_host
from autostack.agent.runner import try_out
from autostack.errors import ConfigurationError
from autostack.local.folders import LOCK_FILE

MIN_FREE_BYTES = 500_000_000
MIN_NODE_MAJOR = 20
TOOL_TIMEOUT_S = 30
# After a SIGKILL of `autostack up` its supervisor holds the lock for the moment it takes to end the rest.
LOCK_TIMEOUT_S = 5


def missing_tools() -> Iterator[str]:
    """Yield a line for each program that builds need and that this machine lacks, or has too old."""
    if tool_version("git") is None:
        yield "git is not installed, or not found on PATH: install it."
    node = tool_version("node")
    if node is None:
        yield f"node is not installed, or not found on PATH: install Node {MIN_NODE_MAJOR} or newer."
    elif int(node.split(".")[0]) < MIN_NODE_MAJOR:
        yield f"Node {node} is too old: install version {MIN_NODE_MAJOR} or newer."
    elif tool_version("npm") is None:
        yield "npm is not installed, or not found on PATH: install it, it mostly comes with Node."


def require_sandbox(folder: Path, *, may_share_network: bool) -> None:
    """Raise ConfigurationError if no sandbox starts on this machine, so that nothing could be built.

    With `may_share_network` the operator lets builds run without one, where they can be another user's.

    `folder` is for the trial.
    """
    try:
        host = inspect_host()
        problem = try_out(host, folder, may_share_network=may_share_network)
        # Then they run without: each log says so.
        may_go_without = may_share_network and host.is_root
    except (AgentError, OSError) as error:
        problem, may_go_without = str(error), False
    if problem and not may_go_without:
        said = " ".join(problem.split())
        raise ConfigurationError(
            f"Builds need a sandbox, and it does not start: {said}. docs/isolation.md says what it takes."
        )


def tool_version(name: str) -> str | None:
    """Return the version that a program on PATH tells, such as `20.20.2`; None if it cannot be run."""
    path = shutil.which(name)
    if path is None:
        return None
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=TOOL_TIMEOUT_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\d+(\.\d+)*", shown)
    return match[0] if match else None


def taken_ports(ports: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each port of 127.0.0.1 that cannot be listened on. `ports` maps an option to its port."""
    for option, port in ports.items():
        try:
            with socket.socket() as listener:
                # As servers do: a port whose last connections are still fading is free.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", port))
                listener.listen()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            problem = "is taken by another program" if taken else f"cannot be used ({error.strerror})"
            yield f"Port {port} {problem}: choose another with {option}."


def require_disk_space(folder: Path) -> None:
    """Raise ConfigurationError when the folder's disk is as good as full."""
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise ConfigurationError(
            f"The disk of {folder} is full: {free // 1_000_000} MB are free, at least "
            f"{MIN_FREE_BYTES // 1_000_000} MB are needed."
        )


def lock(data_dir: Path) -> IO[str]:
    """Return the data folder's lock, held until it is closed here and in every fork. Raises ConfigurationError."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    file = (data_dir / LOCK_FILE).open("w")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise ConfigurationError(f"Another `autostack up` runs on {data_dir}: end it first.") from None
            time.sleep(0.1)
        else:
            return file
