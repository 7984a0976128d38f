"""Requests that come again in the same bytes are answered without being parsed: as they would be if they were."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from autostack.proxy import whole
from autostack.proxy.attempts import Buckets
from autostack.proxy.connection import Connection
from autostack.proxy.handler import Handler
from autostack.proxy.metrics import METER
from autostack.proxy.server import Server
from autostack.settings import load_settings
from autostack.sites.routes import Route
from autostack.sites.store import Store, open_store
from autostack.sites.traffic import Limit
from tests.integration.proxy.messages import GET, HOST, request
from tests.sites import Answer, publish

FILES = {"/plain.txt": b"plain", "/cold.txt": b"cold", "/404.html": b"not here"}
GET_COLD = request(b"GET /cold.txt HTTP/1.1", HOST)


@dataclass
class Visitor:
    """The visitor's end of a connection, of which the proxy's is fed by hand: piece by piece, as the test has it."""

    connection: Connection
    reader: asyncio.StreamReader

    async def asks(self, data: bytes) -> Answer:
        self.connection.data_received(data)
        return await self.reads()

    async def reads(self) -> Answer:
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            answer = Answer.parse(head)
            body = await self.reader.readexactly(int(answer.headers.get("content-length", 0)))
        return Answer(answer.status, answer.headers, body)


@dataclass
class Running:
    """A proxy in this process that hears announcements, with one site."""

    server: Server
    store: Store
    route: Route

    @asynccontextmanager
    async def visitor(self) -> AsyncIterator[Visitor]:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self.server), sock=ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        try:
            yield Visitor(connection, reader)
        finally:
            writer.close()

    async def made_frequent(self, visitor: Visitor, data: bytes = GET) -> None:
        """Have it asked for until the bytes alone tell what is asked for."""
        async with asyncio.timeout(20):
            while self.server.whole.known(data) is None:
                assert (await visitor.asks(data)).body == b"plain"


Story = Callable[[Running], Awaitable[None]]


@pytest.fixture
def told(tmp_path: Path) -> Callable[[Story], None]:
    """Run a story with a proxy."""

    async def tell(story: Story) -> None:
        settings = load_settings(
            storage_url=f"file://{tmp_path}/store",
            data_dir=str(tmp_path),
            route_ttl="600000",
            proxy_answer_timeout_ms=60_000,
        )
        store = open_store(settings)
        handler = Handler(store, settings, Buckets())
        handler.routes.hears_announcements(True)
        server = Server(handler, settings)
        (listening := socket.socket()).bind(("127.0.0.1", 0))
        await server.start([listening])
        # The second begins when the test says so.
        server._ticker.cancel()
        try:
            await story(Running(server, store, publish(store, "site", FILES)))
        finally:
            await server.stop()

    return lambda story: asyncio.run(tell(story))


def test_what_is_answered_again_is_the_same_and_counts_as_often(told):
    async def story(running: Running) -> None:
        async with running.visitor() as visitor, running.visitor() as other:
            first = await visitor.asks(GET)
            hits = METER.hits
            await running.made_frequent(visitor)
            running.server.counts.take()
            answers = [await one.asks(GET) for one in (visitor, other) * 100]
        assert all(answer == first for answer in answers)
        (batch,) = running.server.counts.take()
        (site,) = batch.sites
        assert (site.requests, site.statuses) == (200, {2: 200})
        assert site.sent_bytes > 200 * len(b"plain")
        assert METER.hits - hits >= 200

    told(story)


def test_who_has_it_already_is_told_so_each_time(told):
    async def story(running: Running) -> None:
        async with running.visitor() as visitor:
            etag = (await visitor.asks(GET)).headers["etag"]
            asked = request(b"GET /plain.txt HTTP/1.1", HOST, b"If-None-Match: " + etag.encode())
            answers = [await visitor.asks(asked) for _ in range(10)]
            assert running.server.whole.known(asked) is not None
        assert {(answer.status, answer.body) for answer in answers} == {(304, b"")}

    told(story)


def test_a_new_deployment_ends_what_was_answered_before(told):
    async def story(running: Running) -> None:
        async with running.visitor() as visitor:
            await running.made_frequent(visitor)
            for generation in (2, 3):
                body = b"newer %d" % generation
                publish(running.store, "site", {"/plain.txt": body}, generation=generation)
                running.server.handler.routes.announced("site", generation)
                assert [(await visitor.asks(GET)).body for _ in range(5)] == [body] * 5

    told(story)


def test_the_next_second_is_the_next_answers_date(told, monkeypatch):
    async def story(running: Running) -> None:
        async with running.visitor() as visitor:
            await running.made_frequent(visitor)
            running.server.counts.take()
            for second in (10, 11):
                monkeypatch.setattr(whole.time, "time", lambda: second)  # noqa: B023 - called within the turn
                running.server.whole.begin_second()
                dates = [(await visitor.asks(GET)).headers["date"] for _ in range(3)]
                assert dates == [f"Thu, 01 Jan 1970 00:00:{second} GMT"] * 3
                await running.made_frequent(visitor)
        (batch,) = running.server.counts.take()
        assert batch.sites[0].requests >= 6

    told(story)


def test_a_site_that_is_stopped_answers_nothing_more(told):
    async def story(running: Running) -> None:
        async with running.visitor() as visitor:
            await running.made_frequent(visitor)
            running.server.handler.limits.take({running.route.project_id: Limit.STOP})
            assert (await visitor.asks(GET)).status == 402

    told(story)


def test_in_the_middle_of_a_head_the_same_bytes_are_no_request(told):
    async def story(running: Running) -> None:
        async with running.visitor() as visitor:
            await running.made_frequent(visitor)
            visitor.connection.data_received(b"GET /cold.txt HTTP/1.1\r\nX-Other: ")
            # Two of Host, as it goes on.
            visitor.connection.data_received(b"x\r\n" + HOST + b"\r\n")
            answer = await visitor.asks(GET)
        assert answer.status == 400

    told(story)


def test_the_same_bytes_wait_for_their_turn(told):
    async def story(running: Running) -> None:
        async with running.visitor() as visitor:
            await running.made_frequent(visitor)
            visitor.connection.data_received(GET_COLD)
            for _ in range(3):
                visitor.connection.data_received(GET)
            bodies = [(await visitor.reads()).body for _ in range(4)]
        assert bodies == [b"cold", b"plain", b"plain", b"plain"]

    told(story)


@pytest.mark.parametrize(
    "asked",
    [
        request(b"GET /plain.txt HTTP/1.1", HOST, b"Connection: close"),
        request(b"GET /plain.txt HTTP/1.0", HOST),
        GET + GET[:20],
        GET + GET,
    ],
)
def test_what_ends_a_connection_or_is_not_one_request_is_parsed_each_time(told, asked):
    async def story(running: Running) -> None:
        for _ in range(4):
            async with running.visitor() as visitor:
                assert (await visitor.asks(asked)).body == b"plain"
        assert running.server.whole.known(asked) is None

    told(story)


def test_a_proxy_that_is_going_down_says_so(told):
    async def story(running: Running) -> None:
        async with running.visitor() as visitor:
            await running.made_frequent(visitor)
            visitor.connection.data_received(b"GET /plain.txt")
            visitor.connection.finish()
            visitor.connection.data_received(GET[len(b"GET /plain.txt") :])
            assert (await visitor.reads()).headers["connection"] == "close"

    told(story)
