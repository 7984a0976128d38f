"""Requests over kept-alive connections: how long they took, and which processes' time."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

CONNECTIONS = 16


@dataclass
class Request:
    """What a connection asks. `next` makes the next body from the answer to the one before."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    next: Callable[[bytes], bytes] | None = None

    def encode(self) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.method != "GET":
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Measured:
    """What a number of requests took, in seconds; `cpu_s` of each program that this process started, and of itself."""

    times_s: list[float]
    whole_s: float
    cpu_s: Counter[str]

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.times_s + other.times_s, self.whole_s + other.whole_s, self.cpu_s + other.cpu_s)

    @property
    def per_second(self) -> float:
        return len(self.times_s) / self.whole_s

    def percentile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.times_s, n=100, method="inclusive")[percent - 1] * 1000

    @property
    def served_cpu_us(self) -> float:
        """Microseconds a request, of all programs but the one that asks."""
        return (self.cpu_s.total() - self.cpu_s["load"]) / len(self.times_s) * 1e6

    @property
    def cpu_us(self) -> dict[str, int]:
        """Microseconds a request, by program; those that did nothing to speak of are left out."""
        each = {name: round(used_s / len(self.times_s) * 1e6) for name, used_s in self.cpu_s.most_common()}
        return {name: used_us for name, used_us in each.items() if used_us > 0}


def measure(port: int, requests: list[Request], count: int) -> Measured:
    """Send `count` requests in all, each connection its own of `requests`; any answer but a 200 is an error.

    Each of `requests` ends with the body that is to be sent next.
    """
    return asyncio.run(_measure(port, requests, count))


async def _measure(port: int, requests: list[Request], count: int) -> Measured:
    times: list[float] = []
    left = iter(range(count))
    before, start = _cpu_s(), time.perf_counter()
    await asyncio.gather(*(_ask(port, request, left, times) for request in requests))
    whole_s = time.perf_counter() - start
    return Measured(times, whole_s, _cpu_s() - before)


def _cpu_s() -> Counter[str]:
    """Return what this process, and those below it, have used so far, by name."""
    used: Counter[str] = Counter()
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            # With what its own children used that have ended, as PostgreSQL's do with their connections.
            used["load" if process == own else process.name()] += sum(process.cpu_times()[:4])
    return used


async def _ask(port: int, request: Request, left: Iterator[int], times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in left:
            start = time.perf_counter()
            writer.write(request.encode())
            answered = await _read(reader)
            times.append(time.perf_counter() - start)
            if request.next is not None:
                request.body = request.next(answered)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"not answered with a 200: {head!r}")
    return await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
