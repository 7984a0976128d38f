"""The listening side: accepts connections, watches their deadlines, and goes down without breaking off a response."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import socket
import time

from autostack.proxy.connection import Connection
from autostack.proxy.counts import Counts
from autostack.proxy.descriptors import allowed_descriptors
from autostack.proxy.handler import Handler
from autostack.proxy.hops import Hops
from autostack.proxy.metrics import METER
from autostack.proxy.whole import WholeAnswers
from autostack.settings import Settings

BACKLOG = 2048
TICK_S = 0.25
# An idle one takes about 5 kB.
MAX_CONNECTIONS = 32_000


class Server:
    """All connections of one process."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.handler = handler
        self.counts = Counts()
        self._connections: set[Connection] = set()
        self._all_gone = asyncio.Event()
        self.header_timeout_s = settings.proxy_header_timeout_s
        self.idle_timeout_s = settings.proxy_idle_timeout_s
        self.whole = WholeAnswers()
        self.hops = Hops(settings.proxy_trusted)
        self.expects_proxy_header = settings.proxy_protocol
        self._drain_timeout_s = settings.proxy_drain_timeout_s
        self.now = time.monotonic

    async def start(self, sockets: list[socket.socket]) -> int:
        """Listen on these sockets, which are bound; return their port."""
        self.whole.begin_second()
        # The other half is for reads from the store, and for those who come in the moment before one is closed.
        self._max_connections = min(MAX_CONNECTIONS, allowed_descriptors() // 2)
        loop = asyncio.get_running_loop()
        self._listeners = [
            await loop.create_server(lambda: Connection(self), sock=one, backlog=BACKLOG) for one in sockets
        ]
        self._ticker = loop.create_task(self._tick())
        return int(sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Accept no one else, let what is under way finish within the drain time-out, then break off."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.finish()
        if self._connections:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), self._drain_timeout_s)
        for connection in list(self._connections):
            connection.abort()
        self._ticker.cancel()

    def add(self, connection: Connection) -> None:
        """Watch a new connection's deadline. When there are too many, others make room for it."""
        if len(self._connections) >= self._max_connections:
            self._make_room(connection)
        self._connections.add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def _make_room(self, newcomer: Connection) -> None:
        """End those who have been idle longest; if all are busy, those who have read nothing for longest."""
        leaving = [one for one in self._connections if one.is_idle] or [
            one for one in self._connections if one.is_behind
        ]
        # A tenth at once: looking through them for each newcomer would keep us busy.
        longest = heapq.nsmallest(len(leaving) // 10 or 1, leaving, key=lambda one: one.quiet_since)
        # All wait for us: who is answered soon is not given up for who has asked nothing yet.
        for connection in longest or [newcomer]:
            self._connections.discard(connection)
            connection.abort()

    async def _tick(self) -> None:
        # One timer for all: setting one for every request would cost more than answering it.
        while True:
            await asyncio.sleep(TICK_S)
            self.whole.begin_second()
            METER.publish(len(self._connections))
            now = self.now()
            for connection in list(self._connections):
                connection.check_deadline(now)
