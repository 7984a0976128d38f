"""A TCP proxy that makes trouble, between a client and a real server.

with Chaos(server_port) as chaos:
    chaos.reset_after(1000)
    … connect to 127.0.0.1:chaos.port …
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 4096
Mode = Literal["pass", "refuse", "reset", "stall"]


@dataclass(frozen=True)
class Trouble:
    """What happens to connections: `after_bytes` counts both directions of each; `delay_s` comes before each chunk."""

    mode: Mode = "pass"
    after_bytes: int = 0
    delay_s: float = 0.0


class Chaos:
    """Passes bytes on until it is told otherwise. Runs in a thread of its own; its methods are for any thread."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._trouble = Trouble()
        self._open: set[asyncio.StreamWriter] = set()
        self.connections = 0
        self.resets = 0
        self.bytes_passed = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._call(self._listen)
        return self

    def __exit__(self, *error: object) -> None:
        self._call(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def heal(self) -> None:
        """Pass everything on again. Connections that were stalled go on."""
        self._trouble = Trouble()

    def refuse(self) -> None:
        """Reset new connections at once, and those that are open."""
        self._trouble = Trouble("refuse")
        self._call(self._reset_all)

    def reset_after(self, after_bytes: int) -> None:
        """Reset each connection once that many bytes went over it."""
        self._trouble = Trouble("reset", after_bytes)

    def stall(self, after_bytes: int = 0) -> None:
        """Pass nothing on after that many bytes of a connection, and keep it open."""
        self._trouble = Trouble("stall", after_bytes)

    def delay(self, delay_s: float) -> None:
        """Hold up every chunk by this time."""
        self._trouble = replace(self._trouble, delay_s=delay_s)

    def _call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(timeout=60)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        await self._reset_all()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _reset_all(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._trouble.mode == "refuse":
            _reset(writer)
            return
        # A task that was cancelled would be reported by asyncio as an error of ours.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._open |= {writer, upstream_writer}
            try:
                count = Count()
                await asyncio.gather(
                    self._pass_on(reader, upstream_writer, writer, count),
                    self._pass_on(upstream_reader, writer, upstream_writer, count),
                )
            finally:
                self._open -= {writer, upstream_writer}
                upstream_writer.close()
                writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, back: asyncio.StreamWriter, count: Count
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await asyncio.sleep(self._trouble.delay_s)
            while rest := await self._allowed(chunk, count):
                to.write(rest)
                await to.drain()
                self.bytes_passed += len(rest)
                chunk = chunk[len(rest) :]
            if chunk:
                self.resets += 1
                _reset(to)
                _reset(back)
                return
        with contextlib.suppress(OSError):
            to.write_eof()

    async def _allowed(self, chunk: bytes, count: Count) -> bytes:
        """Return how much of a chunk may pass now; waits while the connection is stalled."""
        # Whether it is healed is asked of the trouble of the moment, which another thread sets.
        while self._trouble.mode == "stall" and count.passed >= self._trouble.after_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        room = self._trouble.after_bytes - count.passed if self._trouble.mode in ("reset", "stall") else len(chunk)
        part = chunk[: max(room, 0)]
        count.passed += len(part)
        return part


@dataclass
class Count:
    """Bytes that went over one connection, both ways."""

    passed: int = 0


def _reset(writer: asyncio.StreamWriter) -> None:
    # Closing with a linger time of 0 sends a RST.
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
