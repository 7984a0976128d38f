"""What the application logs, as a test can look at it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from autostack import logs
from autostack.settings import Settings


class LogLines:
    """Everything that was logged since the last look."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def read(self) -> str:
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read().splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.all() if line["event"] == event]


@contextmanager
def recorded(settings: Settings) -> Iterator[LogLines]:
    """Log as a process with these settings does, until the block ends."""
    root, lines = logging.getLogger(), LogLines()
    before = root.handlers[:], root.level
    logs.begin(settings)
    [handler] = [found for found in root.handlers if type(found) is logging.StreamHandler]
    handler.setStream(lines.stream)
    try:
        yield lines
    finally:
        root.handlers[:], root.level = before
        structlog.contextvars.clear_contextvars()
