"""The deployment's log: lines are masked, bounded, numbered in batches and sent from a thread of their own.

The batches are also the attempt's heartbeat. While web is away they are kept and sent again; when the buffer is
full, who writes waits: a log flood slows its build down rather than fill our memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from autostack.agent.errors import AgentError
from autostack.agent.lines import LineAssembler, cut, printable
from autostack.agent.mask import Masker

Level = Literal["info", "warning", "error"]

MAX_BATCH_LINES = 500
MAX_BATCH_BYTES = 1_000_000
MAX_BUFFERED_LINES = 5_000
MAX_BUFFERED_BYTES = 8_000_000
SEND_INTERVAL_S = 0.25
MAX_REASON_BYTES = 500


@dataclass(frozen=True)
class LogLine:
    elapsed_ms: int
    level: Level
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return the line as the agents' API takes it."""
        body = asdict(self)
        return {"elapsedMs": body.pop("elapsed_ms"), **body}


class Sink(Protocol):
    """Where batches go: `autostack.agent.api.Api`."""

    def send_logs(self, batch: int, lines: list[dict[str, Any]]) -> None: ...


class Shipper:
    """Sends batches in order, at least one a heartbeat interval. Calls `on_end` when web says the attempt is over."""

    def __init__(self, sink: Sink, heartbeat_interval_s: float, on_end: Callable[[Exception], None]) -> None:
        self._sink = sink
        self._heartbeat_interval_s = heartbeat_interval_s
        self._on_end = on_end
        self._lines: deque[LogLine] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._batch = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, line: LogLine) -> None:
        """Add a line; wait while the buffer is full. After the end lines are dropped."""
        with self._changed:
            self._changed.wait_for(self._has_room)
            if not self._closing:
                self._lines.append(line)
                self._bytes += len(line.text)
                if len(self._lines) == MAX_BATCH_LINES:
                    self._changed.notify_all()

    def close(self) -> None:
        """Send what is left, then stop. Returns when web has it all, or will not take it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _has_room(self) -> bool:
        return self._closing or (len(self._lines) < MAX_BUFFERED_LINES and self._bytes < MAX_BUFFERED_BYTES)

    def _is_due(self) -> bool:
        return self._closing or len(self._lines) >= MAX_BATCH_LINES

    def _run(self) -> None:
        sent_at = time.monotonic()
        while not (self._closing and not self._lines):
            with self._changed:
                self._changed.wait_for(self._is_due, timeout=SEND_INTERVAL_S)
            if self._lines or time.monotonic() - sent_at >= self._heartbeat_interval_s:
                sent_at = time.monotonic()
                if not self._send():
                    return

    def _send(self) -> bool:
        self._batch += 1
        try:
            self._sink.send_logs(self._batch, [line.as_json() for line in self._next_batch()])
        # Whatever it is: lines that cannot be sent must not keep the build waiting for room.
        except AgentError as error:
            self._abandon()
            self._on_end(error)
            return False
        return True

    def _next_batch(self) -> list[LogLine]:
        batch: list[LogLine] = []
        size = 0
        with self._changed:
            while self._lines and len(batch) < MAX_BATCH_LINES and size < MAX_BATCH_BYTES:
                batch.append(self._lines.popleft())
                size += len(batch[-1].text)
            self._bytes -= size
            self._changed.notify_all()
        return batch

    def _abandon(self) -> None:
        with self._changed:
            self._closing = True
            self._lines.clear()
            self._changed.notify_all()


class Log:
    """What the build writes to. `line` is for our own words, `write` for the output of programs."""

    def __init__(
        self,
        put: Callable[[LogLine], None],
        masker: Masker,
        *,
        max_line_bytes: int,
        max_log_bytes: int,
        elapsed_ms: int = 0,
    ) -> None:
        self._put = put
        self._masker = masker
        self._max_line_bytes = max_line_bytes
        self._bytes_left = max_log_bytes
        self._max_log_bytes = max_log_bytes
        self._started = time.monotonic() - elapsed_ms / 1000
        # Masks are looked for before a line is cut, so a secret that straddles the cut must be whole.
        self._assembler = LineAssembler(max_line_bytes + 4 * masker.longest)

    def in_one_line(self, text: str) -> str:
        """Return a reason as it may be shown: masked, printable, of one line and a bounded length."""
        return cut(printable(self._masker.mask(" ".join(text.split()))), MAX_REASON_BYTES, 0)

    def line(self, text: str, level: Level = "info") -> None:
        """Add a line of ours, whatever the programs have printed before."""
        for part in self._masker.mask(text).split("\n"):
            self._emit(cut(printable(part), self._max_line_bytes, 0), level)

    def write(self, chunk: bytes) -> None:
        """Add what a program printed."""
        self._lines(self._assembler.feed(chunk))

    def finish_output(self) -> None:
        """A program has ended: what it printed last is a line, also without a line end."""
        self._lines(self._assembler.finish())

    def _lines(self, lines: list[tuple[str, int]]) -> None:
        if self._bytes_left <= 0 or not lines:
            return
        # Masked as one text: a secret of several lines is found whole, and a search covers the whole chunk.
        cleaned = [printable(self._without_tail(text) if dropped else text) for text, dropped in lines]
        masked = self._masker.mask("\n".join(cleaned)).split("\n")
        # A masked secret of several lines leaves fewer lines; which one was cut is then unknown, and said of none.
        dropped_of = [dropped for _, dropped in lines] if len(masked) == len(lines) else [0] * len(masked)
        for text, dropped in zip(masked, dropped_of, strict=True):
            self._output_line(cut(text, self._max_line_bytes, dropped))

    def _without_tail(self, text: str) -> str:
        """A line that was cut can end within a secret: give up as many characters as the longest one has."""
        return text[: len(text) - self._masker.longest] if self._masker.longest else text

    def _output_line(self, text: str) -> None:
        if self._bytes_left <= 0:
            return
        self._bytes_left -= len(text.encode()) + 1
        if self._bytes_left > 0:
            self._emit(text, "info")
        else:
            limit = f"{self._max_log_bytes / 1e6:,.4g} MB"
            self._emit(f"The log reached its limit of {limit}: further output is not kept.", "warning")

    def _emit(self, text: str, level: Level) -> None:
        self._put(LogLine(int((time.monotonic() - self._started) * 1000), level, text))
