"""What supervised processes print: read line by line, shown with the process's name before it, kept in bounded files.

Nothing here may hold up the supervisor: a console that nobody reads, a full disk or an endless line cost lines only.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
from collections import deque
from collections.abc import Sequence
from pathlib import Path

READ_BYTES = 65_536
MAX_LINE_BYTES = 8_192
MAX_LOG_FILE_BYTES = 5_000_000
NAME_WIDTH = 9


class Relay:
    """Carries the output of many processes to one console and to `<folder>/<name>.log`."""

    def __init__(self, folder: Path, console_fd: int = 1) -> None:
        self._folder = folder
        self._console_fd = console_fd
        self._selector = selectors.DefaultSelector()
        self._files: dict[str, LogFile] = {}
        self._last_lines: dict[str, str] = {}

    def attach(self, name: str, fd: int, *, is_shown: bool) -> None:
        """Read `fd`, the end of a pipe, from now until its other end is closed; it is closed here then."""
        os.set_blocking(fd, False)
        self._selector.register(fd, selectors.EVENT_READ, Stream(name, is_shown))

    def pump(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for output and carry on what has come."""
        for key, _ in self._selector.select(timeout_s):
            stream: Stream = key.data
            self._carry(stream.name, stream.feed(_read(key.fd)), is_shown=stream.is_shown)
            if stream.is_closed:
                self._selector.unregister(key.fd)
                os.close(key.fd)

    def say(self, name: str, text: str) -> None:
        """Add a line of the supervisor's own about the process."""
        self._write(name, [text.encode()], is_shown=True)

    def last_line(self, name: str) -> str:
        """Return the last line that a process printed, or nothing: most often why it ended."""
        return self._last_lines.get(name, "")

    def _carry(self, name: str, lines: Sequence[bytes], *, is_shown: bool) -> None:
        last = next((line for line in reversed(lines) if line.strip()), None)
        if last is not None:
            self._last_lines[name] = last.decode(errors="replace").strip()
        self._write(name, lines, is_shown=is_shown)

    def _write(self, name: str, lines: Sequence[bytes], *, is_shown: bool) -> None:
        if not lines:
            return
        if name not in self._files:
            self._files[name] = LogFile(self._folder / f"{name}.log")
        self._files[name].append(lines)
        if is_shown:
            prefix = f"{name:<{NAME_WIDTH}} | ".encode()
            for line in lines:
                write_if_read(self._console_fd, prefix + line + b"\n")


class Stream:
    """One process's output on its way from chunks to lines."""

    def __init__(self, name: str, is_shown: bool) -> None:
        self.name = name
        self.is_shown = is_shown
        self.is_closed = False
        self._rest = b""

    def feed(self, chunk: bytes | None) -> list[bytes]:
        """Take what was read (b"" at the end, None when there was nothing) and return the lines now complete."""
        if chunk is None:
            return []
        self.is_closed = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._rest and (self.is_closed or len(self._rest) > MAX_LINE_BYTES):
            lines.append(self._rest)
            self._rest = b""
        return [line[start : start + MAX_LINE_BYTES] for line in lines for start in _starts(line)]


class LogFile:
    """A file that is set aside as `<name>.1` when full, over the one set aside before."""

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_FILE_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._size = path.stat().st_size if path.exists() else 0

    def append(self, lines: Sequence[bytes]) -> None:
        # On a full disk the lines are lost, and the process they are from goes on.
        with contextlib.suppress(OSError):
            if self._size > self._max_bytes:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._size = 0
            with self._path.open("ab") as file:
                self._size += file.write(b"".join(line + b"\n" for line in lines))


def write_if_read(fd: int, data: bytes) -> None:
    """Write as much as the descriptor takes at once, without ever waiting for its reader; the rest is lost."""
    pieces = deque(data[start : start + select.PIPE_BUF] for start in range(0, len(data), select.PIPE_BUF))
    with contextlib.suppress(OSError):
        # A pipe that is ready takes PIPE_BUF bytes without waiting: pipe(7). So no piece is longer.
        while pieces and select.select([], [fd], [], 0)[1]:
            os.write(fd, pieces.popleft())


def _read(fd: int) -> bytes | None:
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _starts(line: bytes) -> range:
    return range(0, max(len(line), 1), MAX_LINE_BYTES)
