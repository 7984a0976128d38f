"""PUT requests of many small bodies. Each thread keeps a connection: httpx2's client took thrice the CPU time."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Mapping
from typing import IO
from urllib.parse import SplitResult, urlsplit

import httpx2

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
# Sent with the headers, and not after them. A pack is no larger.
SMALL_BYTES = 1024 * 1024


class Sender:
    """Sends bodies. Safe to use from several threads."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._connections = threading.local()

    def put(self, url: str, headers: Mapping[str, str], body: IO[bytes], size: int) -> httpx2.Response:
        """Send `size` bytes, once. Raises httpx2.TransportError when there is no answer."""
        target = urlsplit(url)
        try:
            connection = self._connection(target)
            path = f"{target.path}?{target.query}" if target.query else target.path
            content = body.read() if size <= SMALL_BYTES else body
            try:
                connection.request("PUT", path, content, {**headers, "Content-Length": str(size)})
            except (BrokenPipeError, ConnectionResetError):
                # Who refuses a body need not take all of it: there may be an answer, but none to another request.
                self._forget(target)
            answer = connection.getresponse()
            return httpx2.Response(answer.status, content=answer.read())
        except (OSError, http.client.HTTPException) as error:
            self._forget(target)
            raise httpx2.TransportError(repr(error)) from None

    def _connection(self, target: SplitResult) -> http.client.HTTPConnection:
        kept: dict[str, http.client.HTTPConnection] = self._connections.__dict__
        connection = kept.get(_origin(target)) or self._new(target)
        if connection.sock is None:
            connection.connect()
            connection.sock.settimeout(ANSWER_TIMEOUT_S)  # type: ignore[attr-defined]
        kept[_origin(target)] = connection
        return connection

    def _new(self, target: SplitResult) -> http.client.HTTPConnection:
        host, port = target.hostname or "", target.port
        if target.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)

    def _forget(self, target: SplitResult) -> None:
        self._connections.__dict__.pop(_origin(target), None)


def _origin(target: SplitResult) -> str:
    return f"{target.scheme}://{target.netloc}"
