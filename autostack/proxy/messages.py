"""A request as it was parsed, and a response as it will be written.

They are not frozen, which would double the time that it takes to make one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from autostack.proxy.hops import NOBODY, Peer
from autostack.proxy.negotiation import Accepts
from autostack.sites.routes import Route

# The one address that takes a form, and how long that may be.
UNLOCK_PATH = b"/.autostack/unlock"
MAX_FORM_BYTES = 4096

REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One request for one host. Header names are in lower case; repeated ones are joined with commas,
    cookies with semicolons.

    `refusal` is the status that answers what was no request for us, and nothing else of it counts then. `accepts` is
    what the headers say of that, once somebody has read them.
    """

    method: bytes
    path: bytes
    query: bytes
    host: str
    headers: Mapping[bytes, bytes]
    keep_alive: bool = True
    is_http10: bool = False
    refusal: int | None = None
    peer: Peer = NOBODY
    accepts: Accepts | None = None
    # Of a form only, see UNLOCK_PATH.
    body: bytes = b""

    @property
    def client(self) -> str:
        """The address of who sent it, also when trusted proxies stand between us."""
        return self.peer.client(self.headers)

    @property
    def is_head(self) -> bool:
        return self.method == b"HEAD"


@dataclass(slots=True, eq=False)
class Tally:
    """How often an answer was given as it was prepared, since it was summed up last, and the bytes that took."""

    project_id: str
    is_preview: bool
    path: bytes
    is_page: bool
    status: bytes
    times: int = 0
    sent_bytes: int = 0


# Of a body: a view is a part of bytes that others have, too.
Part = bytes | memoryview


@dataclass(slots=True)
class Response:
    """Status line and headers without the empty line, then a body in memory, in chunks, or both, in that order.

    `route` is that of the site whose answer it is, None for the platform's own; `tally` counts one that was prepared.
    An answer that lacks a length says nowhere how long it is: that it is complete has to be told at its end.
    One that is no visit asks for a password or leads to another host: nobody has seen anything of the site yet.
    """

    head: bytes
    body: Part = b""
    chunks: AsyncGenerator[Part, None] | None = None
    route: Route | None = None
    lacks_length: bool = False
    tally: Tally | None = None
    is_visit: bool = True


def head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """Return a status line and headers. Values are ours or were checked; the caller adds Date and Connection."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}", *(f"{name}: {value}" for name, value in headers), ""]
    return "\r\n".join(lines).encode("latin-1")


def added(start: bytes, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the head of a response with more headers."""
    return start + "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
