"""A Git server that never stops talking: it answers a fetch with remarks (sideband 2) without end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = b"1" * 40
REMARK = b"\x02" + b"x" * 60_000 + b"\n"


def packet(content: bytes) -> bytes:
    """Return a pkt-line of Git's protocol: its length in hexadecimal, itself included, then the content."""
    return b"%04x" % (len(content) + 4) + content


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._begin("advertisement")
        capabilities = (b"version 2\n", b"ls-refs\n", b"fetch=shallow\n")
        self.wfile.write(
            packet(b"# service=git-upload-pack\n") + b"0000" + b"".join(map(packet, capabilities)) + b"0000"
        )

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._begin("result")
        if b"ls-refs" in asked:
            self.wfile.write(packet(COMMIT + b" refs/heads/main\n") + b"0000")
            return
        sections = packet(b"shallow-info\n") + packet(b"shallow " + COMMIT) + b"0001" + packet(b"packfile\n")
        self.wfile.write(sections)
        try:
            while True:
                self.wfile.write(packet(REMARK) * 16)
        except OSError:
            return

    def _begin(self, what: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"application/x-git-upload-pack-{what}")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing of it is of interest."""


@contextmanager
def chatty_git_server() -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; yield `host:port`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
