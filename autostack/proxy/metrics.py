"""What the proxy did, for Prometheus: counted by each worker for itself, told by any of them for all.

A hit costs one addition: where a look at the clock is a call of the kernel, two would take a tenth of its time, so of
many hits one is timed, and stands for the others. Four times a second the sums go into memory that the workers share, a
stretch for each; a worker that takes a dead one's place goes on counting from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import socket
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

# Upper bounds of the histogram, in seconds. A hit takes microseconds, an answer from the store milliseconds.
BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BUCKETS = len(BOUNDS_S) + 1
HITS, MISSES, STORE_ERRORS, CONNECTIONS, SECONDS, PULSE = range(6)
FIRST_BUCKET = 6
FIELDS = FIRST_BUCKET + BUCKETS
BYTES_PER_FIELD = 8
# One hit of so many is timed: a power of two.
HITS_PER_SAMPLE = 64
MAX_REQUEST_BYTES = 8 * 1024
REQUEST_TIMEOUT_S = 5


class Meter:
    """The counters of this process, which whoever counts adds to, and the times since the last `publish`."""

    def __init__(self) -> None:
        self.hits = 0
        self.store_errors = 0
        self.hits_took_s: list[float] = []
        self.misses_took_s: list[float] = []
        self._misses = 0
        self._timed_hits = 0
        self._last_hit_s = 0.0
        self._seconds = 0.0
        self._pulse = 0.0
        self._buckets = [0.0] * BUCKETS
        self._shared: memoryview[float] | None = None

    def share(self, fields: memoryview[float]) -> None:
        """Go on from what stands in this stretch of shared memory, and publish there."""
        self.hits, self._misses, self.store_errors = (int(fields[field]) for field in (HITS, MISSES, STORE_ERRORS))
        self._timed_hits = self.hits
        self._seconds, self._pulse = fields[SECONDS], fields[PULSE]
        self._buckets = list(fields[FIRST_BUCKET:FIELDS])
        self._shared = fields

    def publish(self, connections: int) -> None:
        """Let others see that this process is well, what was counted, and how many connections are open here."""
        self._sum_up()
        self._pulse += 1
        if self._shared is not None:
            sums = (self.hits, self._misses, self.store_errors, connections, self._seconds)
            for field, value in enumerate((*sums, self._pulse, *self._buckets)):
                self._shared[field] = value

    def _sum_up(self) -> None:
        hits = self.hits - self._timed_hits
        if hits:
            # Without one that was timed, they took what the last one did.
            samples = self.hits_took_s or [self._last_hit_s]
            self._count(samples, hits / len(samples))
            self._timed_hits, self._last_hit_s = self.hits, samples[-1]
            self.hits_took_s = []
        self._count(self.misses_took_s, 1)
        self._misses += len(self.misses_took_s)
        self.misses_took_s = []

    def _count(self, took_s: Sequence[float], times: float) -> None:
        self._seconds += sum(took_s) * times
        for seconds in took_s:
            self._buckets[bisect_left(BOUNDS_S, seconds)] += times


# This process's own.
METER = Meter()


class Board(Collector):
    """The memory in which all workers publish. Made before they are."""

    def __init__(self, workers: int) -> None:
        # A worker writes while another one reads: of a number of eight bytes, never half of it.
        self._fields = memoryview(mmap.mmap(-1, workers * FIELDS * BYTES_PER_FIELD)).cast("d")

    def of(self, worker: int) -> memoryview[float]:
        """Return the stretch of one worker."""
        return self._fields[worker * FIELDS : (worker + 1) * FIELDS]

    def pulse(self, worker: int) -> float:
        """Return what another value follows as long as a worker is well."""
        return self._fields[worker * FIELDS + PULSE]

    def text(self) -> bytes:
        """Return the sums over all workers in Prometheus's text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        sums = [sum(self._fields[field::FIELDS]) for field in range(FIELDS)]
        yield CounterMetricFamily("autostack_proxy_hits", "Requests answered from memory.", sums[HITS])
        yield CounterMetricFamily("autostack_proxy_misses", "Requests that waited for disk or store.", sums[MISSES])
        failed = "Requests and refreshes that the object store failed or kept waiting."
        yield CounterMetricFamily("autostack_proxy_store_errors", failed, sums[STORE_ERRORS])
        yield GaugeMetricFamily("autostack_proxy_open_connections", "Visitors' connections.", sums[CONNECTIONS])
        yield HistogramMetricFamily(
            "autostack_proxy_request_duration_seconds",
            "From a request's last byte to its answer's first; of hits, a sample.",
            buckets=_cumulated(sums[FIRST_BUCKET:]),
            sum_value=sums[SECONDS],
        )


def _cumulated(counts: Sequence[float]) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))


async def tell(board: Board, listening: socket.socket) -> None:
    """Answer every request at a bound socket, which the workers share, with the metrics, until cancelled."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await reader.readuntil(b"\r\n\r\n")
                body = board.text()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE_PLAIN_0_0_4}\r\nContent-Length: {len(body)}\r\n"
                writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, sock=listening.dup(), limit=MAX_REQUEST_BYTES) as server:
        await server.serve_forever()
