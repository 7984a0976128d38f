"""One visitor's connection: requests are answered in their order, never faster than the visitor reads.

The way of a hit is short: `data_received` parses, the handler answers from memory, one write. All else (a read from the
store, a visitor who reads slowly, requests sent before the last one was answered) goes through one task.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sys
import termios
from collections import deque
from typing import TYPE_CHECKING, cast

import structlog

from autostack.proxy.messages import Response
from autostack.proxy.parsing import Received, RequestParser
from autostack.proxy.respond import error
from autostack.sites.errors import StoreUnavailable

if TYPE_CHECKING:
    from autostack.proxy.server import Server

log = structlog.get_logger(__name__)

# More requests than this, sent ahead of their answers, stay in the kernel's buffers.
MAX_WAITING = 64
# Larger bodies are not copied behind their headers.
SMALL_BODY_BYTES = 64 * 1024
# How long a refused visitor may go on sending: a reset would destroy the answer on its way to him.
LINGER_S = 2.0
ALLOW = (("Allow", "GET, HEAD"),)


class Connection(asyncio.Protocol):
    """Reads requests and writes responses. The server looks at `deadline` and `quiet_since`, on the loop's clock."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = RequestParser(self._receive)
        self._waiting: deque[Received] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_last = False
        self._is_ended = False
        self._unsent = 0
        self._allow(server.header_timeout_s)

    @property
    def is_idle(self) -> bool:
        """Tell whether nobody waits for an answer here: it can be ended without a loss."""
        return self._task is None and self._transport.get_write_buffer_size() == 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._is_ended = True
        self._writable.set()
        self._server.remove(self)
        if self._task is not None:
            # Ends the read from the store, too.
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._is_ended:
            return
        was_in_head = self._parser.is_in_head
        self._parser.feed(data)
        if not self._is_ended and not (was_in_head and self._parser.is_in_head):
            server = self._server
            self._allow(server.header_timeout_s if self._parser.is_in_head else server.idle_timeout_s)

    def eof_received(self) -> bool:
        # Some visitors close their side as soon as they have asked, and still wait for the answer.
        self._is_last = True
        return self._task is not None

    def pause_writing(self) -> None:
        self._writable.clear()
        self._unsent = self._unacknowledged()
        self._allow(self._server.idle_timeout_s)

    def resume_writing(self) -> None:
        self._writable.set()
        self._allow(self._server.idle_timeout_s)

    def check_deadline(self, now: float) -> None:
        """Close or break off when the visitor has let the time pass without sending or reading anything."""
        if not self._writable.is_set() and self._made_progress():
            self._allow(self._server.idle_timeout_s)
        elif now < self.deadline or (self._task is not None and self._writable.is_set()):
            return
        elif self._is_ended or not self._writable.is_set():
            self._transport.abort()
        elif self._parser.is_in_head:
            self._receive(Received(None, 408, keep_alive=False))
        else:
            self._transport.close()

    def finish(self) -> None:
        """Close after what has been asked for is answered: the server is going down."""
        self._is_last = True
        if self._task is None and not self._parser.is_in_head:
            self._transport.close()

    def abort(self) -> None:
        """Break off, whatever is under way."""
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

    def _receive(self, received: Received) -> None:
        if self._is_ended:
            return
        if self._task is None and self._writable.is_set():
            response = self._answer_now(received)
            if response is not None:
                self._write(received, response)
                self._end_after(received)
                return
        self._waiting.append(received)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
        if len(self._waiting) > MAX_WAITING and self._transport.is_reading():
            self._transport.pause_reading()

    def _answer_now(self, received: Received) -> Response | None:
        if received.request is not None:
            return self._server.handler.answer_now(received.request)
        status = received.refusal or 400
        return error(status, extra=ALLOW if status == 405 else ())

    async def _work(self) -> None:
        try:
            while self._waiting and not self._is_ended:
                await self._answer(self._waiting.popleft())
            self._task = None
            if not self._transport.is_closing() and not self._transport.is_reading():
                self._transport.resume_reading()
        except StoreUnavailable as failure:
            log.warning("broke off in mid-body", error=failure.message)
            self._transport.abort()
        except Exception:
            # The outermost edge: one request's mistake must not end the others' service.
            log.exception("request failed")
            self._transport.abort()

    async def _answer(self, received: Received) -> None:
        await self._writable.wait()
        response = self._answer_now(received)
        if response is None and received.request is not None:
            response = await self._server.handler.answer(received.request)
        if response is None or self._is_ended:
            return
        self._write(received, response)
        if response.chunks is not None:
            async with contextlib.aclosing(response.chunks) as chunks:
                async for chunk in chunks:
                    await self._writable.wait()
                    self._transport.write(chunk)
        self._allow(self._server.idle_timeout_s)
        self._end_after(received)

    def _write(self, received: Received, response: Response) -> None:
        connection = b""
        if self._is_last and not self._waiting:
            # From here on it is said, whatever is still received while the body is under way.
            received.keep_alive = False
        if not received.keep_alive:
            connection = b"Connection: close\r\n"
        elif received.is_http10:
            connection = b"Connection: keep-alive\r\n"
        start = response.head + self._server.date_line + connection + b"\r\n"
        if len(response.body) <= SMALL_BODY_BYTES:
            self._transport.write(start + response.body)
        else:
            self._transport.writelines((start, response.body))

    def _end_after(self, received: Received) -> None:
        if received.keep_alive and (self._waiting or not self._is_last):
            return
        self._is_ended = True
        self._waiting.clear()
        if received.refusal is None:
            self._transport.close()
        else:
            self._allow(LINGER_S)
            self._transport.write_eof()
