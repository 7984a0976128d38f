"""HTTP to others' servers: however they answer, neither time nor memory of ours is theirs."""

from __future__ import annotations

import ssl
import time
from functools import cache

import httpx2

MAX_ANSWER_BYTES = 1_000_000
# They are of the body as it came, which is read here.
OF_THE_TRANSFER = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class BoundedTransport(httpx2.HTTPTransport):
    """Reads an answer up to a size and for so long, however slowly it trickles in."""

    def __init__(self, timeout_s: float, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        super().__init__(verify=_trusted())
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        deadline = time.monotonic() + self._timeout_s
        answer = super().handle_request(request)
        body = bytearray()
        try:
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > self._max_bytes or time.monotonic() > deadline:
                    raise httpx2.ReadError("The answer is too long", request=request)
        finally:
            answer.close()
        headers = [(name, value) for name, value in answer.headers.multi_items() if name not in OF_THE_TRANSFER]
        return httpx2.Response(answer.status_code, headers=headers, content=bytes(body))


@cache
def _trusted() -> ssl.SSLContext:
    """Return whose certificates are believed: read once, for there are many."""
    return httpx2.create_ssl_context()
