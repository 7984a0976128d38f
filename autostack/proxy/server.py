"""The listening side: accepts connections, watches their deadlines, and goes down without breaking off a response."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import resource
import time
from email.utils import formatdate

from autostack.proxy.connection import Connection
from autostack.proxy.handler import Handler
from autostack.settings import Settings

BACKLOG = 2048
TICK_S = 0.25
# An idle one takes about 5 kB.
MAX_CONNECTIONS = 32_000


class Server:
    """All connections of one process."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.handler = handler
        self._connections: set[Connection] = set()
        self._all_gone = asyncio.Event()
        self.header_timeout_s = settings.proxy_header_timeout_s
        self.idle_timeout_s = settings.proxy_idle_timeout_s
        self.date_line = b""
        self._drain_timeout_s = settings.proxy_drain_timeout_s
        self.now = asyncio.get_running_loop().time

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which the system chooses for 0. Raises OSError when it is taken."""
        self._set_date()
        # The other half is for reads from the store, and for those who come in the moment before one is closed.
        self._max_connections = min(MAX_CONNECTIONS, allowed_descriptors() // 2)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self), host, port, backlog=BACKLOG)
        self._ticker = loop.create_task(self._tick())
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Accept no one else, let what is under way finish within the drain time-out, then break off."""
        self._listener.close()
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
        """Watch a new connection's deadline. When there are too many, those longest idle make room."""
        self._connections.add(connection)
        if len(self._connections) > self._max_connections:
            self._make_room()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def _make_room(self) -> None:
        idle = [connection for connection in self._connections if connection.is_idle]
        # A tenth at once: looking through them for each newcomer would keep us busy.
        for connection in heapq.nsmallest(len(idle) // 10 or 1, idle, key=lambda one: one.quiet_since):
            self._connections.discard(connection)
            connection.abort()

    async def _tick(self) -> None:
        # One timer for all: setting one for every request would cost more than answering it.
        while True:
            await asyncio.sleep(TICK_S)
            self._set_date()
            now = self.now()
            for connection in list(self._connections):
                connection.check_deadline(now)

    def _set_date(self) -> None:
        self.date_line = f"Date: {formatdate(time.time(), usegmt=True)}\r\n".encode()


def allowed_descriptors() -> int:
    """Return how many files and sockets this process may have open, after raising that as far as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 2 * MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else soft
