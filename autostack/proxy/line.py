"""One visitor's line: how much he has taken of what was written to him, and until when he has to take or send more."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING

import structlog

from autostack.proxy.sent import Sent

if TYPE_CHECKING:
    from autostack.proxy.server import Server

log = structlog.get_logger(__name__)

# Of Linux's `struct tcp_info`: where tcpi_bytes_acked stands, and how much is asked for.
BYTES_ACKED_AT = 120
TCP_INFO_BYTES = 128
# Has a close reset the connection (struct linger).
RESETS = struct.pack("ii", 1, 0)


class Line(asyncio.Protocol):
    """What a connection is below its requests. The server looks at `deadline` and `quiet_since` (monotonic clock)."""

    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._writable = asyncio.Event()
        self._writable.set()
        # The same, to be looked at for every request.
        self._is_writable = True
        # That nothing more comes is all that tells the visitor that his answer is complete.
        self._ends_by_closing = False
        self._unsent = 0
        self._sent = Sent()
        self._is_broken_off = False
        self._allow(server.header_timeout_s)

    @property
    def is_behind(self) -> bool:
        """Tell whether the visitor has yet to read what was written for him."""
        return self._transport.get_write_buffer_size() > 0

    def pause_writing(self) -> None:
        self._writable.clear()
        self._is_writable = False
        self._unsent = self._unacknowledged()
        self._allow(self._server.idle_timeout_s)

    def resume_writing(self) -> None:
        self._writable.set()
        self._is_writable = True
        self._allow(self._server.idle_timeout_s)

    def abort(self) -> None:
        """Break off, whatever is under way."""
        self._is_broken_off = True
        if self._ends_by_closing:
            # What is lost must not pass for the end.
            with contextlib.suppress(OSError):
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
        self._transport.abort()

    def _allow(self, limit_s: float) -> None:
        """Let this much time pass from now on."""
        self.quiet_since = self._server.now()
        self.deadline = self.quiet_since + limit_s

    def _made_progress(self) -> bool:
        before, self._unsent = self._unsent, self._unacknowledged()
        return self._unsent < before

    def _unacknowledged(self) -> int:
        # The kernel takes megabytes at a time from us: a visitor on a slow line shows only in what it has left to send.
        in_kernel = fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return self._transport.get_write_buffer_size() + int.from_bytes(in_kernel, sys.byteorder)

    def _take_back_unsent(self, ending: asyncio.Task[None] | None) -> None:
        """Count no longer what the visitor has not taken; what a task wrote last is counted as that ends."""
        try:
            taken = self._acknowledged()
        except OSError as failure:
            log.warning("not known what was taken", error=str(failure))
            return
        if ending is None:
            self._uncount(taken)
        else:
            ending.add_done_callback(lambda _: self._uncount(taken))

    def _acknowledged(self) -> int:
        # A reset empties our buffer before we hear of it: only the kernel still knows what was taken.
        descriptor = self._transport.get_extra_info("socket").fileno()
        with socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        return int(struct.unpack_from("=Q", info, BYTES_ACKED_AT)[0])

    def _uncount(self, taken: int) -> None:
        for route, size in self._sent.not_taken(taken):
            self._server.counts.take_back(route, size)
            self._server.handler.limits.spend(route.project_id, -size)
