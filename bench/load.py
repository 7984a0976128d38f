"""Requests over kept-alive connections, and how long they took."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CONNECTIONS = 16


@dataclass(frozen=True)
class Request:
    """What to ask. `next` makes the next body from the answer to the one before, on the same connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    next: Callable[[bytes], bytes] | None = None

    def encode(self, body: bytes) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.method != "GET":
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class Measured:
    """What a number of requests took, in seconds."""

    times_s: list[float]
    whole_s: float

    @property
    def per_second(self) -> float:
        return len(self.times_s) / self.whole_s

    def percentile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.times_s, n=100, method="inclusive")[percent - 1] * 1000


def measure(port: int, requests: list[Request], count: int) -> Measured:
    """Send `count` requests in all, each connection its own of `requests`; any answer but a 200 is an error."""
    return asyncio.run(_measure(port, requests, count))


async def _measure(port: int, requests: list[Request], count: int) -> Measured:
    times: list[float] = []
    left = iter(range(count))
    start = time.perf_counter()
    await asyncio.gather(*(_ask(port, request, left, times) for request in requests))
    return Measured(times, time.perf_counter() - start)


async def _ask(port: int, request: Request, left: Iterator[int], times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = request.body
    try:
        for _ in left:
            start = time.perf_counter()
            writer.write(request.encode(body))
            answered = await _read(reader)
            times.append(time.perf_counter() - start)
            if request.next is not None:
                body = request.next(answered)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"not answered with a 200: {head!r}")
    return await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
