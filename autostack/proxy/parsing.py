"""From bytes to requests, with every limit on the way. The grammar is llhttp's, which is strict (RFC 9112).

What is refused, and with which status: a target over MAX_TARGET_BYTES 414, headers over MAX_HEADER_BYTES or
MAX_HEADERS 431, other methods than GET and HEAD 405, other versions than 1.x 505; a body, a missing or doubtful Host
and everything that is not well formed 400. After a refusal the connection closes: nobody can tell where the next
request would begin.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from autostack.proxy.cache import remembered
from autostack.proxy.messages import Request

MAX_TARGET_BYTES = 8 * 1024
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 100
METHODS = (b"GET", b"HEAD")
# A name or IPv4 address, or an IPv6 address, then perhaps a port.
HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{0,5})?")


@dataclass(slots=True)
class Received:
    """A request, or the status that refuses it, and what becomes of the connection afterwards."""

    request: Request | None
    refusal: int | None
    keep_alive: bool
    is_http10: bool = False


class RequestParser:
    """Parses one connection's requests, and gives each to `receive`, in order."""

    def __init__(self, receive: Callable[[Received], None]) -> None:
        self._receive = receive
        self._parser = httptools.HttpRequestParser(self)
        self._refused = False
        self._begun_in_this_feed = False
        self.is_in_head = False
        self.on_message_begin()
        self.is_in_head = False

    def feed(self, data: bytes) -> None:
        """Parse what has arrived. After a refusal, everything is ignored."""
        if self._refused:
            return
        self._begun_in_this_feed = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request was complete and has been given on as the last one; what follows is another protocol's.
            self._refused = True
        except httptools.HttpParserError:
            self._refuse(400)
        # Parts of an unfinished header are kept by the parser, unseen by on_header.
        if self.is_in_head and not self._begun_in_this_feed:
            self._unseen += len(data)
            if self._unseen > MAX_HEADER_BYTES + MAX_TARGET_BYTES:
                self._refuse(431)

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_count = 0
        self._header_bytes = 0
        self._unseen = 0
        self.is_in_head = True
        self._begun_in_this_feed = True

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > MAX_TARGET_BYTES:
            self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        if self._header_count > MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(431)
            return
        name = name.lower()
        if name not in self._headers:
            self._headers[name] = value
        elif name == b"host":
            self._refuse(400)
        else:
            self._headers[name] += b", " + value

    def on_headers_complete(self) -> None:
        self.is_in_head = False
        method = self._parser.get_method()
        if self._parser.get_http_version() not in ("1.1", "1.0"):
            self._refuse(505)
        elif method not in METHODS:
            self._refuse(405)
        elif b"transfer-encoding" in self._headers or self._headers.get(b"content-length", b"0").strip(b"0"):
            self._refuse(400)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        request = self._request()
        if request is None:
            self._refuse(400)
            return
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._receive(Received(request, None, keep_alive, self._parser.get_http_version() == "1.0"))

    def _request(self) -> Request | None:
        host_header = self._headers.get(b"host")
        if host_header is None and self._parser.get_http_version() == "1.1":
            return None
        authority, target = split_target(self._target)
        host = normalise_host(authority if authority is not None else host_header or b"localhost")
        if host is None or not target.startswith(b"/") or normalise_host(host_header or b"localhost") is None:
            return None
        path, _, query = target.partition(b"?")
        return Request(self._parser.get_method(), path, query, host, self._headers)

    def _refuse(self, status: int) -> None:
        if not self._refused:
            self._refused = True
            self.is_in_head = False
            self._receive(Received(None, status, keep_alive=False))


def split_target(target: bytes) -> tuple[bytes | None, bytes]:
    """Return the authority, if the target is in absolute form, and the path with the query (RFC 9112, 3.2)."""
    target = target.partition(b"#")[0]
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return None, target
    authority = re.split(rb"[/?]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    return authority, path if path.startswith(b"/") else b"/" + path


@remembered(4096)
def normalise_host(header: bytes) -> str | None:
    """Return a host in lower case, without port and final dot, None if it is not well formed."""
    if HOST.fullmatch(header) is None:
        return None
    name = header if header.startswith(b"[") else header.partition(b":")[0]
    return name.decode("ascii").lower().removesuffix(".")
