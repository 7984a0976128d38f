"""One visitor's connection: requests are answered in their order, never faster than the visitor reads.

The way of a hit is short: `data_received` parses, the handler answers from memory, one write. Bytes that come again and
again are not even parsed. All else (a read from the store, a visitor who reads slowly, requests sent
before the last one was answered) goes through one task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, cast

import structlog

from autostack.proxy.counts import told
from autostack.proxy.hops import NotProxied, Peer, split_proxy_header
from autostack.proxy.line import Line
from autostack.proxy.messages import Part, Request, Response, Tally
from autostack.proxy.metrics import HITS_PER_SAMPLE, METER
from autostack.proxy.parsing import RequestParser, refused
from autostack.proxy.respond import error
from autostack.proxy.whole import SMALL_BODY_BYTES, Known
from autostack.sites.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from autostack.proxy.server import Server
    from autostack.sites.routes import Route

log = structlog.get_logger(__name__)

# More requests than this, sent ahead of their answers, are not parsed: the shortest take eight times as much then.
MAX_WAITING = 64
# Parsed without a look at how many wait then. A longer head comes rarely.
SLICE_BYTES = 4096
# How long a refused visitor may go on sending: a reset would destroy the answer on its way to him.
LINGER_S = 2.0
ALLOW = (("Allow", "GET, HEAD"),)
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Connection(Line):
    """Reads requests and writes responses."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._handler = server.handler
        self._parser = RequestParser(self._receive)
        self._known = server.whole.known
        # What was written last in one piece, if that came as an answer at once.
        self._wrote_whole: tuple[Request, Tally] | None = None
        self._waiting: deque[Request] = deque()
        # What came after so many requests that it is not parsed before they are answered.
        self._unparsed = b""
        self._task: asyncio.Task[None] | None = None
        self._is_last = False
        self._is_ended = False

    @property
    def is_idle(self) -> bool:
        """Tell whether nobody waits for an answer here: it can be ended without a loss."""
        return self._task is None and self._transport.get_write_buffer_size() == 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        address = str((transport.get_extra_info("peername") or ("",))[0])
        self._peer = Peer(address, self._server.hops)
        # What has come of a PROXY header, None when there is none to come.
        expects_header = self._server.expects_proxy_header and self._server.hops.trusts(address)
        self._proxy_header = b"" if expects_header else None
        self._server.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._is_ended = True
        self._writable.set()
        self._is_writable = True
        self._server.remove(self)
        if self._task is not None:
            # Ends the read from the store, too.
            self._task.cancel()
        if error is not None or self._is_broken_off:
            self._take_back_unsent(self._task)

    def data_received(self, data: bytes) -> None:
        known = self._known(data)
        if known is None or self._parser.is_in_head or self._is_ended or self._proxy_header is not None:
            self._take(data)
        elif not self._answer_again(known):
            self._wrote_whole = None
            self._receive(known.again(self._peer))
            self._remember(data)
            if not self._is_ended:
                self._allow(self._server.idle_timeout_s)

    def _answer_again(self, known: Known) -> bool:
        """Answer a known request as it was answered last. False: its answer has to be found again, or has to wait."""
        now, site, server = monotonic(), known.site, self._server
        whole, handler = server.whole.at_hand(known.tally), server.handler
        if whole is None or self._task is not None or not self._is_writable or self._is_last:
            return False
        if site.epoch != handler.routes.epoch or now >= site.fresh_until or handler.limits.is_any:
            return False
        self._transport.write(whole)
        self._sent.add(site.route, len(whole))
        server.counts.hit_again(known.tally, known.told, self._peer, len(whole))
        METER.hits += 1
        if not METER.hits % HITS_PER_SAMPLE:
            METER.hits_took_s.append(monotonic() - now)
        self.quiet_since = now
        self.deadline = now + server.idle_timeout_s
        return True

    def _take(self, data: bytes) -> None:
        if self._proxy_header is not None:
            data = self._take_proxy_header(data)
        if self._is_ended or not data:
            return
        was_in_head = self._parser.is_in_head
        if len(data) <= SLICE_BYTES:
            self._parse(data)
        else:
            self._parse_slices(data)
        if not self._is_ended and not (was_in_head and self._parser.is_in_head):
            server = self._server
            self._allow(server.header_timeout_s if self._parser.is_in_head else server.idle_timeout_s)
        if self._parser.expects_leave and self._task is None and not self._is_ended:
            self._have_form_sent()

    def _have_form_sent(self) -> None:
        """Tell who waits for that to send his form: all is answered that he asked for before."""
        self._parser.expects_leave = False
        self._transport.write(GO_ON)
        self._sent.add(None, len(GO_ON))
        self._allow(self._server.header_timeout_s)

    def _parse(self, data: bytes) -> None:
        self._wrote_whole = None
        self._parser.feed(data)
        if self._parser.was_plain and self._server.whole.is_frequent(data):
            self._remember(data)

    def _remember(self, data: bytes) -> None:
        """Take note of what these bytes ask for, which was answered at once and in one piece, if so it was."""
        if self._wrote_whole is None:
            return
        request, tally = self._wrote_whole
        site = self._handler.site(request.host)
        if site is not None:
            self._server.whole.remember(data, Known(request, site, tally, told(tally, request)))

    def _parse_slices(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            if len(self._waiting) > MAX_WAITING:
                # Reading is paused since: nothing can come before this.
                self._unparsed = data[start:]
                return
            self._parser.feed(data[start : start + SLICE_BYTES])

    def _take_proxy_header(self, data: bytes) -> bytes:
        """Return what follows the PROXY header that a trusted hop begins with, nothing while it is not complete."""
        self._proxy_header = (self._proxy_header or b"") + data
        try:
            split = split_proxy_header(self._proxy_header)
        except NotProxied:
            self.abort()
            return b""
        if split is None:
            return b""
        address, rest = split
        self._peer = Peer(address or self._peer.address, self._server.hops)
        self._proxy_header = None
        return rest

    def eof_received(self) -> bool:
        # Some visitors close their side as soon as they have asked, and still wait for the answer.
        self._is_last = True
        return self._task is not None

    def check_deadline(self, now: float) -> None:
        """Close or break off when the visitor has let the time pass without sending or reading anything."""
        if not self._writable.is_set() and self._made_progress():
            self._allow(self._server.idle_timeout_s)
        elif now < self.deadline or (self._task is not None and self._writable.is_set()):
            return
        elif self._is_ended or not self._writable.is_set():
            self.abort()
        elif self._parser.is_in_head:
            self._receive(refused(408))
        else:
            self._transport.close()

    def finish(self) -> None:
        """Close after what has been asked for is answered: the server is going down."""
        self._is_last = True
        if self._task is None and not self._parser.is_in_head:
            self._transport.close()

    def _receive(self, request: Request) -> None:
        if self._is_ended:
            return
        request.peer = self._peer
        if self._task is None and self._is_writable:
            is_timed = METER.hits % HITS_PER_SAMPLE == 0
            began = perf_counter() if is_timed else 0.0
            response = self._answer_now(request)
            if response is not None:
                self._note(request, response, self._write(request, response))
                METER.hits += 1
                if is_timed:
                    METER.hits_took_s.append(perf_counter() - began)
                if not request.keep_alive or self._is_last:
                    self._end_after(request)
                return
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
        if len(self._waiting) > MAX_WAITING and self._transport.is_reading():
            self._transport.pause_reading()

    def _answer_now(self, request: Request) -> Response | None:
        status = request.refusal
        if status is None:
            return self._handler.answer_now(request)
        return error(status, extra=ALLOW if status == 405 else ())

    async def _work(self) -> None:
        try:
            while self._has_more() and not self._is_ended:
                await self._answer(self._waiting.popleft())
            self._task = None
            if self._parser.expects_leave and not self._is_ended:
                self._have_form_sent()
            if not self._transport.is_closing() and not self._transport.is_reading():
                self._transport.resume_reading()
        except StoreUnavailable as failure:
            METER.store_errors += 1
            log.warning("broke off in mid-body", error=failure.message)
            self.abort()
        except Exception:
            # The outermost edge of a connection's task, which nobody awaits: whatever it is, it must not pass unseen,
            # nor leave the visitor waiting, and ends nobody else's service.
            log.exception("request failed")
            self.abort()

    def _has_more(self) -> bool:
        """Tell whether a request waits, after parsing what came ahead if none does."""
        if not self._waiting and self._unparsed:
            data, self._unparsed = self._unparsed, b""
            self._take(data)
        return bool(self._waiting)

    async def _answer(self, request: Request) -> None:
        await self._writable.wait()
        began = perf_counter()
        at_hand = self._answer_now(request)
        response = at_hand or await self._handler.answer(request)
        if self._is_ended:
            return
        size = self._write(request, response)
        if at_hand is None:
            METER.misses_took_s.append(perf_counter() - began)
        else:
            METER.hits += 1
        self._note(request, response, size)
        if response.chunks is not None:
            await self._stream(response.route, response.chunks, _is_chunked(request, response))
        self._allow(self._server.idle_timeout_s)
        self._end_after(request)

    async def _stream(self, route: Route | None, chunks: AsyncGenerator[Part, None], is_chunked: bool) -> None:
        """Write the rest of a response as the visitor takes it. It counts as it goes: it may take an hour."""
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                await self._writable.wait()
                if route is not None and self._handler.limits.is_any:
                    await self._handler.limits.turn(route.project_id)
                self._write_more(route, _framed(chunk) if is_chunked else chunk)
        if is_chunked:
            self._write_more(route, LAST_CHUNK)

    def _write_more(self, route: Route | None, data: Part) -> None:
        self._transport.write(data)
        self._sent.add(route, len(data))
        if route is not None:
            self._server.counts.note_more(route, len(data))
            if self._handler.limits.is_any:
                self._handler.limits.spend(route.project_id, len(data))

    def _note(self, request: Request, response: Response, size: int) -> None:
        self._sent.add(response.route, size)
        if response.route is None:
            return
        if response.tally is not None:
            self._server.counts.hit(response.tally, request, size)
        else:
            status, is_visit = response.head[9:12], response.is_visit
            self._server.counts.note(response.route, request, status, size, is_visit=is_visit)
        if self._handler.limits.is_any:
            self._handler.limits.spend(response.route.project_id, size)

    def _write(self, request: Request, response: Response) -> int:
        """Write a response but for its chunks. Returns how many bytes those are."""
        if response.tally is not None and request.keep_alive and not (self._is_last or request.is_http10):
            whole = self._server.whole.get(response)
            if whole is not None:
                self._transport.write(whole)
                self._wrote_whole = (request, response.tally)
                return len(whole)
        end, body = self._server.whole.end_of_head, response.body
        if _is_chunked(request, response):
            end, body = CHUNKED + end, _framed(body)
        elif response.lacks_length:
            self._ends_by_closing = True
        if self._ends_by_closing or (self._is_last and not self._waiting):
            # From here on it is said, whatever is still received while the body is under way.
            request.keep_alive = False
        if not request.keep_alive:
            end = b"Connection: close\r\n" + end
        elif request.is_http10:
            end = b"Connection: keep-alive\r\n" + end
        if len(body) <= SMALL_BODY_BYTES:
            self._transport.write(response.head + end + body)
        else:
            self._transport.writelines((response.head + end, body))
        return len(response.head) + len(end) + len(body)

    def _end_after(self, request: Request) -> None:
        if request.keep_alive and (self._waiting or not self._is_last):
            return
        self._is_ended = True
        self._waiting.clear()
        self._unparsed = b""
        if request.refusal is None:
            self._transport.close()
        else:
            self._allow(LINGER_S)
            self._transport.write_eof()


def _is_chunked(request: Request, response: Response) -> bool:
    return response.lacks_length and not request.is_http10


def _framed(data: Part) -> bytes:
    """Return data as one chunk (RFC 9112, 7.1); nothing stays nothing, as an empty chunk would be the last."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n")) if data else b""
