"""The listening side: accepts connections, watches their deadlines, and goes down without breaking off a response."""

from __future__ import annotations

import asyncio
import contextlib
import time
from email.utils import formatdate

from autostack.proxy.connection import Connection
from autostack.proxy.handler import Handler
from autostack.settings import Settings

BACKLOG = 2048
TICK_S = 0.25


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
        """Watch a new connection's deadline."""
        self._connections.add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

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
