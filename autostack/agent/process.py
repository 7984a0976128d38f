"""Run programs: one sandboxed command with its output streamed and its tree watched, or a short one of our own."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import psutil

from autostack.agent.errors import InfrastructureError

READ_BYTES = 65_536
TAIL_BYTES = 16_384
WATCH_INTERVAL_S = 0.25
KILL_TIMEOUT_S = 10.0

# Asked about the running tree; answers why it must stop, or None.
Guard = Callable[[psutil.Process], str | None]
# Ends a sandbox with everything in it, and waits for that.
Kill = Callable[[subprocess.Popen[bytes]], None]


class Stopped(Exception):
    """A guard stopped the command; the message is its reason."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (128 + n for signal n), the last of its output, and whether the kernel refused

    it processes.
    """

    exit_code: int
    tail: bytes = b""
    lacked_processes: bool = False


def run(
    argv: Sequence[str],
    *,
    pass_fds: Sequence[int] = (),
    write: Callable[[bytes], None],
    feed: Iterable[bytes] | None = None,
    guards: Sequence[Guard] = (),
    kill: Kill | None = None,
) -> Ended:
    """Run a sandbox, give its output (stdout and stderr) to `write`, wait until all of it has ended.

    Must be called from a thread that outlives the command: bwrap dies with the thread that started it.
    `feed` is written to its standard input; `kill` ends a sandbox that is not bubblewrap's. Raises Stopped when a guard
    ended it, and lets `write`'s and `feed`'s errors through; nothing of the tree is alive when this returns or raises.
    """
    stdin = subprocess.PIPE if feed is not None else subprocess.DEVNULL
    process = _start(argv, pass_fds=pass_fds, stdin=stdin, stderr=subprocess.STDOUT)
    watcher = Watcher(process, guards, kill or kill_sandbox)
    feeder = Feeder(process.stdin, feed, watcher) if process.stdin and feed is not None else None
    try:
        tail = _pump(process.stdout, write)
    except BaseException:
        watcher.kill()
        raise
    finally:
        process.wait()
        watcher.close()
        if feeder:
            feeder.close()
    if watcher.reason is not None:
        raise Stopped(watcher.reason)
    return Ended(_exit_code(process.returncode), tail)


def stream(
    argv: Sequence[str], *, pass_fds: Sequence[int] = (), guards: Sequence[Guard] = (), kill: Kill | None = None
) -> Iterable[bytes]:
    """Run a sandbox and yield what it prints, as a generator that ends it when it is closed.

    Raises InfrastructureError when it fails or a guard stopped it: half of a stream is worth nothing.
    """
    process = _start(argv, pass_fds=pass_fds, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watcher = Watcher(process, guards, kill or kill_sandbox)
    try:
        while process.stdout and (chunk := process.stdout.read(READ_BYTES)):
            yield chunk
        # What it still does at its end is not to count as having been broken off.
        process.wait()
    finally:
        watcher.kill()
        process.wait()
        watcher.close()
    if watcher.reason is not None or process.returncode:
        raise InfrastructureError(watcher.reason or f"the command ended with exit code {process.returncode}")


def capture(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> str:
    """Return what a short program of our own prints, or an empty text when it fails."""
    try:
        done = subprocess.run(
            argv,
            env=dict(env or {"PATH": os.environ.get("PATH", "")}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _start(argv: Sequence[str], *, pass_fds: Sequence[int], stdin: int, stderr: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env={}, cwd="/", pass_fds=pass_fds, bufsize=0
        )
    except OSError as error:
        raise InfrastructureError(f"the sandbox did not start: {error.strerror}") from None


def _pump(stdout: IO[bytes] | None, write: Callable[[bytes], None]) -> bytes:
    tail: deque[bytes] = deque()
    size = 0
    while stdout and (chunk := stdout.read(READ_BYTES)):
        write(chunk)
        tail.append(chunk)
        size += len(chunk)
        while size - len(tail[0]) >= TAIL_BYTES:
            size -= len(tail.popleft())
    return b"".join(tail)[-TAIL_BYTES:]


def _exit_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


class Feeder:
    """Writes to a command's standard input from a thread, while its output is read."""

    def __init__(self, stdin: IO[bytes], chunks: Iterable[bytes], watcher: Watcher) -> None:
        self._stdin = stdin
        self._chunks = chunks
        self._watcher = watcher
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the end; raise what the chunks raised."""
        self._thread.join()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            with self._stdin:
                for chunk in self._chunks:
                    self._stdin.write(chunk)
        except BrokenPipeError:
            return  # The command stopped reading: its exit code says why.
        except Exception as error:  # noqa: BLE001 - a thread's outermost edge; `close` raises it again
            self._error = error
            self._watcher.kill()


class Watcher:
    """Asks the guards about a sandbox's tree at intervals, and ends the tree when one gives a reason."""

    def __init__(self, process: subprocess.Popen[bytes], guards: Sequence[Guard], kill: Kill) -> None:
        self.reason: str | None = None
        self._process = process
        self._guards = guards
        self._kill = kill
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching: the process has ended."""
        self._done.set()
        self._thread.join()

    def kill(self) -> None:
        """End the sandbox with everything in it."""
        self._kill(self._process)

    def _run(self) -> None:
        try:
            tree = psutil.Process(self._process.pid)
            while not self._done.wait(WATCH_INTERVAL_S):
                self.reason = self.reason or self._ask(tree)
                if self.reason is not None:
                    # Again at the next round, should it have been half-way through its start.
                    self.kill()
        except psutil.NoSuchProcess:
            return

    def _ask(self, tree: psutil.Process) -> str | None:
        return next((reason for guard in self._guards if (reason := guard(tree)) is not None), None)


def kill_sandbox(process: subprocess.Popen[bytes]) -> None:
    """End a sandbox. Its first process is the init of a pid namespace: the kernel ends all the others with it,

    `setsid` children and daemons too, before bwrap outside sees it end; so bwrap itself is killed only if it has no
    child yet, or does not end.
    """
    try:
        inits = psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return
    for init in inits:
        _kill(init)
    if not inits:
        process.kill()
        return
    if not _has_ended(process, KILL_TIMEOUT_S):
        process.kill()


def kill_contained(process: subprocess.Popen[bytes]) -> None:
    """End what `contained` runs. It does so itself, as its children's end alone leaves others running; one of its

    children may be doing just that. Told once, it may have been about to start the command.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while time.monotonic() < deadline:
        process.terminate()
        if _has_ended(process, WATCH_INTERVAL_S):
            return
    process.kill()


def _has_ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process.poll() is not None


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
