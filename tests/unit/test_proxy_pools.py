"""Connections to other servers: what one project takes of them, and what is left for others."""

from __future__ import annotations

import asyncio

import httpcore2
import pytest
import uvloop

from autostack.proxy import pools
from autostack.proxy.pools import FEW_AT_ONCE, MAX_AT_ONCE, MAX_CONNECTIONS, Pools
from autostack.settings import load_settings


@pytest.fixture(autouse=True)
def descriptors(monkeypatch):
    """As many as a server mostly has."""
    monkeypatch.setattr(pools, "allowed_descriptors", lambda: 64_000)


def enter_often(shared: Pools, project: str, times: int = MAX_CONNECTIONS) -> int:
    return sum(shared.enter(project) is not None for _ in range(times))


def test_projects_whose_servers_are_slow_leave_room_for_those_who_want_little():
    async def fill() -> None:
        shared = Pools(load_settings())
        assert enter_often(shared, "slow") == MAX_AT_ONCE
        for number in range(MAX_CONNECTIONS // MAX_AT_ONCE):
            enter_often(shared, f"greedy-{number}")
        assert enter_often(shared, "modest") == FEW_AT_ONCE
        assert enter_often(shared, "slow", 1) == 0, "it has its share"
        for number in range(MAX_CONNECTIONS // MAX_AT_ONCE // 2):
            for _ in range(MAX_AT_ONCE):
                shared.leave(f"greedy-{number}")
        assert enter_often(shared, "modest") == MAX_AT_ONCE - FEW_AT_ONCE, "when the rush is over"

    uvloop.run(fill())


def test_there_are_never_more_than_the_process_can_have():
    async def fill() -> None:
        shared = Pools(load_settings())
        assert sum(enter_often(shared, str(number), MAX_AT_ONCE) for number in range(400)) == MAX_CONNECTIONS
        shared.leave("0")
        assert enter_often(shared, "another") == 1

    uvloop.run(fill())


def test_of_few_descriptors_visitors_and_files_keep_the_most(monkeypatch):
    monkeypatch.setattr(pools, "allowed_descriptors", lambda: 100)

    async def fill() -> int:
        shared = Pools(load_settings())
        return sum(enter_often(shared, str(number)) for number in range(100))

    assert uvloop.run(fill()) == 25


def test_a_project_that_asks_nobody_any_more_keeps_no_connection(monkeypatch):
    monkeypatch.setattr(pools, "KEEP_ALIVE_S", 0.2)

    async def ask() -> None:
        is_closed = asyncio.Event()
        connections = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            while await reader.readline():
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            is_closed.set()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        shared = Pools(load_settings(rewrite_hosts_allowed="127.0.0.1"))
        for _ in range(3):
            pool = shared.enter("project")
            answered = await pool.ask(httpcore2.Request("GET", f"http://127.0.0.1:{port}/", headers={"Host": "x"}))
            assert await answered.aread() == b"ok"
            await answered.aclose()
            shared.leave("project")
        assert connections == 1
        await asyncio.wait_for(is_closed.wait(), 10)
        assert enter_often(shared, "project", 1) == 1, "and it may come back"
        server.close()

    uvloop.run(ask())
