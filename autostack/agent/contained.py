"""The first process of every script in a container that is there for one build: bubblewrap's part, less the mounts.

Fargate lets a container neither mount nor make a namespace. The container's own are all there is, so user code is kept
apart as another user: without privileges, behind the seccomp filter, among folders that are not its own. As whatever
it starts would stay on in the container, this process ends all of that user's before it ends itself.

Run by the agent as `python -m autostack.agent.contained … -- COMMAND`; its exit code is the command's.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

# Where the image says that it is one, and so that all of its folders are the build's.
MARK = Path("/etc/autostack/container-of-one-build")
SAYS = "contained: "
EXIT_FAILED = 125
# The one who ends the build's processes. The build, another user, cannot end or trace them.
ENDING_UID = 63_999
ENDING_TRIES = 5

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
BYTES_PER_INSTRUCTION = 8


class _Program(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main() -> int:
    """Run the command as the build's user; return its exit code (128 + n for signal n)."""
    given = _arguments()
    try:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(PR_SET_DUMPABLE, 0)
        # What the command leaves behind becomes our child, and is counted as part of the build until it is ended.
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        with _one_at_a_time(given.script.parent):
            _end_all_of(given.uid)
            _lay_out(given)
            return _run(given)
    except OSError as error:
        print(f"{SAYS}{error.filename or 'this container'}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="autostack.agent.contained")
    parser.add_argument("--uid", type=int, required=True, help="who the command becomes")
    parser.add_argument("--script", type=Path, required=True, help="where the script goes")
    parser.add_argument("--script-fd", type=int, required=True, help="where it is read from")
    parser.add_argument("--seccomp-fd", type=int, help="where the filter is read from")
    parser.add_argument("--link", nargs=2, action="append", default=[], metavar=("TARGET", "PATH"))
    parser.add_argument("--chdir", required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    if given.uid <= 0:
        parser.error("--uid must be an ordinary user")
    return given


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold what there is once in a container: the script's place, and the user whose processes are ended."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lay_out(given: argparse.Namespace) -> None:
    given.script.unlink(missing_ok=True)
    with os.fdopen(given.script_fd, "rb") as script:
        given.script.write_bytes(script.read())
    given.script.chmod(0o555)
    for target, path in given.link:
        if target != path:
            link = Path(path)
            link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def _run(given: argparse.Namespace) -> int:
    filter_bytes = _read(given.seccomp_fd) if given.seccomp_fd is not None else None
    # Asked to end, from here on: the build's processes, and then, as the command has ended, this one.
    signal.signal(signal.SIGTERM, lambda *_: _start_ender(given.uid))
    child = os.fork()
    if child == 0:
        _become(given.command, given.chdir, filter_bytes)
    status = _wait_for(child)
    _end_all_of(given.uid)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _wait_for(child: int) -> int:
    """Return how a child ended. Those that came to us meanwhile are let go of as they end."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _become(command: list[str], folder: str, filter_bytes: bytes | None) -> NoReturn:
    """Turn this process into the command. Its own line drops the user: no exec gives privileges from here on."""
    try:
        os.setsid()
        os.chdir(folder)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        if filter_bytes:
            program = _Program(len(filter_bytes) // BYTES_PER_INSTRUCTION, filter_bytes)
            _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))
        # Python ignores them for itself, and they would stay ignored in the command.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(command[0], command, {})  # noqa: S606 - an argument list, and no shell
    except OSError as error:
        print(f"{SAYS}{error.filename or command[0]}: {error.strerror}", file=sys.stderr)
    finally:
        os._exit(EXIT_FAILED)


def _end_all_of(uid: int) -> None:
    """End every process of a user, however fast they multiply, and wait until none is left.

    One signal to all is atomic: who has it pending can fork no more. It is sent by a process with that user as its
    effective one (so that it may signal them, and only them) and another as its real and saved one (so that they may
    not signal it).
    """
    # The ender itself may be ended, by the kernel when memory runs out.
    if not any(_wait_for(_start_ender(uid)) == 0 for _ in range(ENDING_TRIES)):
        raise PermissionError(errno.EPERM, "the build's processes cannot be ended")
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _start_ender(uid: int) -> int:
    child = os.fork()
    if child == 0:
        _signal_all_of(uid)
    return child


def _signal_all_of(uid: int) -> NoReturn:
    code = EXIT_FAILED
    try:
        os.setresuid(ENDING_UID, uid, ENDING_UID)
        os.kill(-1, signal.SIGKILL)
        code = 0
    except ProcessLookupError:
        code = 0
    finally:
        os._exit(code)


def _read(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _prctl(option: int, *values: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


if __name__ == "__main__":
    sys.exit(main())
