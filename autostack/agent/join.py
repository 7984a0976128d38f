"""`python -I -S join.py [--group FOLDER]… [--user FD] [--net FD] -- COMMAND…`: enter these, then become the command.

A program of its own: the first process of a sandbox must be in its control groups and namespaces before it starts
others, and in a process with threads nothing may be done between fork and exec.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Python ignores them for itself, and they would stay ignored in the program that it becomes.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def command_line(groups: Iterable[Path], user: int | None, net: int | None) -> list[str]:
    """Return what a command line begins with whose command is to be in these: nothing, if it need be in none.

    `user` and `net` are descriptors of namespaces, which are handed to the command line's process.
    """
    entered = [word for group in groups for word in ("--group", str(group))]
    entered += ["--user", str(user)] if user is not None else []
    entered += ["--net", str(net)] if net is not None else []
    return [sys.executable, "-I", "-S", __file__, *entered, "--"] if entered else []


def main() -> None:
    """Become the command. It is run for each step of a build, and so loads as little as it can: no argparse."""
    end = sys.argv.index("--")
    options = list(zip(sys.argv[1:end:2], sys.argv[2:end:2], strict=True))
    for folder in (value for name, value in options if name == "--group"):
        # 0 is who writes it (cgroups(7)).
        with open(f"{folder}/cgroup.procs", "w") as members:
            members.write("0")
    # The network's owner is the user namespace, which must be entered for the right to enter the other.
    namespaces = dict(options)
    for name, kind in (("--user", CLONE_NEWUSER), ("--net", CLONE_NEWNET)):
        if name in namespaces:
            _enter(int(namespaces[name]), kind)
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    command = sys.argv[end + 1 :]
    os.execv(command[0], command)  # noqa: S606 - an argument list, and no shell


def _enter(descriptor: int, kind: int) -> None:
    """Enter a namespace. Its descriptor is none that user code should find open."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, kind) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    os.close(descriptor)


if __name__ == "__main__":
    main()
