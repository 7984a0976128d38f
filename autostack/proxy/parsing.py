"""From bytes to requests, with every limit on the way. The grammar is llhttp's, which is strict (RFC 9112).

What is refused, and with which status: a target over MAX_TARGET_BYTES 414, headers over MAX_HEADER_BYTES or
MAX_HEADERS 431, other methods than GET and HEAD 405, other versions than 1.x 505, expectations other than 100-continue
417; a body, a missing or doubtful Host and everything that is not well formed 400. One address takes a form by
POST, over MAX_FORM_BYTES 413. After a refusal the connection closes: nobody can tell where the next request begins.

`expects_leave`: somebody holds his form back until he is told to go on (RFC 9110, 10.1.1), and nothing of it has come.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import httptools

from autostack.proxy.cache import remembered
from autostack.proxy.messages import MAX_FORM_BYTES, UNLOCK_PATH, Request

MAX_TARGET_BYTES = 8 * 1024
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 100
METHODS = (b"GET", b"HEAD")
# Of the headers that a connection repeats; longer ones are rare, and not kept.
MAX_REPEATED_BYTES = 2048
VISIBLE = bytes(range(0x21, 0x7F))
GET, VERSION = b"GET /", b" HTTP/1.1"
# A name or IPv4 address, or an IPv6 address, then perhaps a port.
HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{0,5})?")


class RequestParser:
    """Parses one connection's requests, and gives each to `receive`, in order; the last may be a refusal.

    A browser mostly sends the same headers again, byte for byte, and a proxy in front of us often does. They mean the
    same then, and were found to be well formed: only the request line is read, if it is of the plainest kind.
    """

    def __init__(self, receive: Callable[[Request], None]) -> None:
        self._receive = receive
        self._parser = httptools.HttpRequestParser(self)
        self._refused = False
        self._fed_bytes = 0
        self._begun = 0
        # The last request that came alone and whole, and its headers as they came.
        self._complete = refused(400)
        self._last: Request | None = None
        self._last_headers = b""
        self.on_message_begin()
        self.is_in_head = False

    @property
    def was_plain(self) -> bool:
        """Tell whether what was fed last was one whole request and nothing else, of the plainest kind."""
        return self._last is not None

    def feed(self, data: bytes) -> None:
        """Parse what has arrived. After a refusal, everything is ignored."""
        if self._refused or (self._last is not None and self._is_repeated(data, self._last)):
            return
        begins_here = not self.is_in_head
        self._fed_bytes = len(data)
        self._begun = 0
        self._last = None
        try:
            self._parser.feed_data(data)
            if begins_here and self._begun == 1 and not self.is_in_head:
                self._remember(data)
        except httptools.HttpParserUpgrade:
            # The request was complete and has been given on as the last one; what follows is another protocol's.
            self._refused = True
        except httptools.HttpParserError:
            self._refuse(400)
        # Parts of an unfinished header are kept by the parser, unseen by on_header.
        if self.is_in_head and not self._begun:
            self._earlier_bytes += len(data)
            if self._earlier_bytes > MAX_HEADER_BYTES + MAX_TARGET_BYTES:
                self._refuse(431)

    def _is_repeated(self, data: bytes, last: Request) -> bool:
        """Give on a request that only differs from the last one in its path, if that is what this is."""
        line, _, headers = data.partition(b"\r\n")
        if headers != self._last_headers or not (line.startswith(GET) and line.endswith(VERSION)):
            return False
        target = line[4:-9]
        if len(target) > MAX_TARGET_BYTES or b"#" in target or target.translate(None, VISIBLE):
            return False
        path, _, query = target.partition(b"?")
        self._receive(Request(b"GET", path, query, last.host, last.headers, True, False, None, last.peer, last.accepts))
        return True

    def _remember(self, data: bytes) -> None:
        """Keep the request that was the whole of `data`, if the next one is likely to repeat its headers."""
        line, _, headers = data.partition(b"\r\n")
        is_plain = line.startswith(GET) and line.endswith(VERSION) and headers.endswith(b"\r\n\r\n")
        if is_plain and len(headers) <= MAX_REPEATED_BYTES and self._complete.keep_alive:
            self._last, self._last_headers = self._complete, headers

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body = b""
        self.expects_leave = False
        self._repeated = 0
        self._earlier_bytes = 0
        self.is_in_head = True
        self._begun += 1

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > MAX_TARGET_BYTES:
            self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self._headers
        if name not in headers:
            headers[name] = value
        elif name == b"host":
            self._refuse(400)
        else:
            self._repeated += 1
            # RFC 9110, 5.2; RFC 6265, 5.4 has cookies apart by semicolons.
            headers[name] += (b"; " if name == b"cookie" else b", ") + value

    def on_headers_complete(self) -> None:
        self.is_in_head = False
        version = self._parser.get_http_version()
        self._is_http10 = version == "1.0"
        mistake = self._mistake(version)
        if mistake is not None:
            self._refuse(mistake)

    def _mistake(self, version: str) -> int | None:
        headers = self._headers
        # Most heads come in one piece that is smaller than the limit: nothing is to be counted then.
        is_large = not self._begun or self._fed_bytes > MAX_HEADER_BYTES
        if is_large and sum(map(len, headers)) + sum(map(len, headers.values())) > MAX_HEADER_BYTES:
            return 431
        if len(headers) + self._repeated > MAX_HEADERS:
            return 431
        if version != "1.1" and version != "1.0":
            return 505
        if self._parser.get_method() not in METHODS:
            return self._forms_mistake()
        if b"transfer-encoding" in headers or (b"content-length" in headers and headers[b"content-length"].strip(b"0")):
            return 400
        return 417 if self._expects_the_unknown() else None

    def _expects_the_unknown(self) -> bool:
        return b"expect" in self._headers and self._headers[b"expect"].lower() != b"100-continue"

    def _forms_mistake(self) -> int | None:
        """Return what is wrong with what is neither GET nor HEAD; None for the one form that is taken."""
        if self._parser.get_method() != b"POST" or self._target.partition(b"?")[0] != UNLOCK_PATH:
            return 405
        length = self._headers.get(b"content-length", b"0")
        if b"transfer-encoding" in self._headers or not length.isdigit():
            return 400
        if int(length) > MAX_FORM_BYTES:
            return 413
        if self._expects_the_unknown():
            return 417
        # What has not arrived yet is waited for as long as a head is.
        self.is_in_head = True
        self.expects_leave = b"expect" in self._headers and int(length) > 0 and not self._is_http10
        return None

    def on_body(self, part: bytes) -> None:
        self.expects_leave = False
        self._body += part

    def on_message_complete(self) -> None:
        self.is_in_head = False
        if self._refused:
            return
        request = self._request()
        if request is None:
            self._refuse(400)
        else:
            self._complete = request
            self._receive(request)

    def _request(self) -> Request | None:
        target, headers, parser = self._target, self._headers, self._parser
        given = headers.get(b"host", b"localhost" if self._is_http10 else b"")
        host = normalise_host(given)
        if host is not None and (not target.startswith(b"/") or b"#" in target):
            authority, target = split_target(target)
            host = host if authority is None else normalise_host(authority)
        if host is None or not target.startswith(b"/"):
            return None
        path, _, query = target.partition(b"?")
        keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
        return Request(parser.get_method(), path, query, host, headers, keep_alive, self._is_http10, body=self._body)

    def _refuse(self, status: int) -> None:
        if not self._refused:
            self._refused = True
            self.is_in_head = False
            self._receive(refused(status))


def refused(status: int) -> Request:
    """Return what stands for something that is answered with this status, and after which the connection closes."""
    return Request(b"", b"", b"", "", {}, keep_alive=False, refusal=status)


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
