"""A server that sites' rules pass requests on to: it answers by the path that it is asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MEMBERS = b"kept by whoever may"
LARGE = bytes(range(256)) * 8000


@dataclass
class Origin:
    """Where it listens, what it was asked, and `release`, which `/slow` waits for."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    origin: Origin

    def do_GET(self) -> None:
        self.origin.asked.append(self.path)
        path = self.path.partition("?")[0]
        answer = getattr(self, f"_{path.strip('/').replace('-', '_')}", self._echo)
        answer()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, body: bytes, *headers: tuple[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _echo(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"path": self.path, "headers": headers}).encode()
        self._send(200, body, ("Content-Type", "application/json"), ("X-Origin", "yes"), ("X-Hop", "1"))

    def _cookies(self) -> None:
        first, second = ("Set-Cookie", "a=1; Domain=localhost; Path=/"), ("Set-Cookie", "b=2; HttpOnly")
        self._send(200, b"", first, second, ("Strict-Transport-Security", "max-age=9"))

    def _cacheable(self) -> None:
        headers = ("Cache-Control", "max-age=60"), ("vary", "Accept"), ("Vary", "cookie")
        self._send(200, MEMBERS, *headers)

    def _redirect(self) -> None:
        self._send(302, b"", ("Location", "http://127.0.0.1:1/private"))

    def _missing(self) -> None:
        self._send(404, b"no such thing")

    def _odd(self) -> None:
        self._send(299, b"odd")

    def _nothing(self) -> None:
        # With a length, which no 204 may have.
        self._send(204, b"")

    def _beyond(self) -> None:
        self._send(999, b"no status")

    def _large(self) -> None:
        self._send(200, LARGE)

    def _huge(self) -> None:
        self._send(200, b"", length=10**9)

    def _chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (b"one ", b"two ", b"three"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def _chunked_cut(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"4\r\nhalf\r\n")
        self.close_connection = True

    def _once(self) -> None:
        # Nothing but a connection's first request is answered: it is closed just as the second comes.
        if getattr(self, "was_asked", False):
            self.close_connection = True
            return
        self.was_asked = True
        self._send(200, b"once")

    def _never(self) -> None:
        self.close_connection = True

    def _cut(self) -> None:
        self._send(200, b"half", length=8)
        self.close_connection = True

    def _slow(self) -> None:
        self.origin.release.wait(300)
        self._send(200, b"at last")

    def _nonsense(self) -> None:
        self.wfile.write(b"\x00\x01\x02 not HTTP\r\n\r\n")
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def serve_origin() -> Iterator[Origin]:
    """Run one on a free port of 127.0.0.1."""
    origin = Origin()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"origin": origin}))
    origin.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield origin
    finally:
        origin.release.set()
        server.shutdown()
        server.server_close()
