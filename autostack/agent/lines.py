"""Bytes that a program printed become log lines: bounded, valid UTF-8, without control characters but colours."""

from __future__ import annotations

import re

# CSI sequences other than SGR, OSC strings, other two-byte escapes.
ESCAPE = re.compile(r"\x1b(?:\[(?P<csi>[0-?]*[ -/]*[@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|.?)")
SGR = re.compile(r"[0-9;:]*m")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029]")
BARE_ESCAPE = re.compile(r"\x1b(?!\[[0-9;:]*m)")


class LineAssembler:
    """Joins chunks into lines. A carriage return starts its line anew, as on a terminal.

    A line keeps its first `max_bytes` bytes; the rest is counted, not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._dropped = 0

    def feed(self, chunk: bytes) -> list[tuple[str, int]]:
        """Return the lines that this chunk completes, each with the number of bytes that were dropped from it."""
        *complete, rest = chunk.split(b"\n")
        lines = []
        for piece in complete:
            self._append(piece)
            lines.append(self._take())
        self._append(rest)
        return lines

    def finish(self) -> list[tuple[str, int]]:
        """Return the last line, if it did not end with a line end."""
        return [self._take()] if self._line else []

    def _append(self, piece: bytes) -> None:
        if piece and self._line.endswith(b"\r") and piece.strip(b"\r"):
            self._restart()
        overwritten = piece.rstrip(b"\r").rfind(b"\r")
        if overwritten >= 0:
            self._restart()
            piece = piece[overwritten + 1 :]
        room = self._max_bytes - len(self._line)
        if len(piece) > room:
            self._dropped += len(piece) - room
            # The return that ends a cut line is kept, or what overwrites the line would be taken for its end.
            piece = piece[: room - 1] + b"\r" if piece.endswith(b"\r") and room else piece[:room]
        self._line += piece

    def _restart(self) -> None:
        self._line.clear()
        self._dropped = 0

    def _take(self) -> tuple[str, int]:
        text, dropped = bytes(self._line).rstrip(b"\r").decode("utf-8", "replace"), self._dropped
        self._restart()
        return text, dropped


def printable(text: str) -> str:
    """Return `text` without escape sequences other than colours (SGR) and without control characters but tab."""
    if "\x1b" in text:
        text = ESCAPE.sub(_keep_colours, text)
        text = BARE_ESCAPE.sub("", text)
    return CONTROL.sub("", text)


def _keep_colours(match: re.Match[str]) -> str:
    sequence = match["csi"]
    return match[0] if sequence is not None and SGR.fullmatch(sequence) else ""


def cut(text: str, max_bytes: int, dropped: int) -> str:
    """Return at most `max_bytes` bytes of `text`; say how many bytes are missing, with those already `dropped`."""
    encoded = text.encode()
    if len(encoded) <= max_bytes and not dropped:
        return text
    missing = dropped + max(0, len(encoded) - max_bytes)
    notice = f" … [line cut: {missing:,} bytes more]"
    return encoded[: max(0, max_bytes - len(notice.encode()))].decode("utf-8", "ignore") + notice
