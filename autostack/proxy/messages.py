"""A request as it was parsed, and a response as it will be written.

They are not frozen, which would double the time that it takes to make one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One request for one host. Header names are in lower case; repeated ones are joined with commas."""

    method: bytes
    path: bytes
    query: bytes
    host: str
    headers: Mapping[bytes, bytes]

    @property
    def is_head(self) -> bool:
        return self.method == b"HEAD"


@dataclass(slots=True)
class Response:
    """Status line and headers without the empty line, then a body in memory, in chunks, or both, in that order."""

    head: bytes
    body: bytes = b""
    chunks: AsyncGenerator[bytes, None] | None = None


def head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """Return a status line and headers. Values are ours or were checked; the caller adds Date and Connection."""
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in headers), ""]
    return "\r\n".join(lines).encode("latin-1")
