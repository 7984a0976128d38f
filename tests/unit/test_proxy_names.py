"""The addresses of other servers: looked up by name without threads, kept for a while, one question for all who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpcore2
import pytest
import uvloop

from autostack.proxy import names
from autostack.proxy.names import Names, UnknownName
from autostack.proxy.pools import MAX_LOOK_UPS, PrivateAddress, PublicBackend
from autostack.settings import Settings, load_settings
from tests.peers.dns_server import DnsServer, running_dns


@pytest.fixture(scope="module")
def running() -> Iterator[DnsServer]:
    with running_dns() as server:
        yield server


@pytest.fixture
def dns_server(running: DnsServer) -> DnsServer:
    running.reset()
    return running


@pytest.fixture
def settings(dns_server: DnsServer) -> Settings:
    return load_settings(dns_servers=dns_server.address, dns_timeout_s=30)


async def public(looked_up: Names, name: str, turns: asyncio.Semaphore | None = None) -> tuple[str, ...]:
    return await looked_up.public(name, turns or asyncio.Semaphore(MAX_LOOK_UPS))


def test_all_who_ask_for_a_name_at_once_and_soon_after_cause_one_look_up(dns_server, settings):
    dns_server.put("api.example.com", "CNAME", "server.example.net")
    dns_server.put("server.example.net", "A", "192.0.2.1", "192.0.2.2")
    dns_server.put("server.example.net", "AAAA", "2001:db8::1")

    async def ask() -> None:
        looked_up, turns = Names(settings), asyncio.Semaphore(MAX_LOOK_UPS)
        found = await asyncio.gather(*(looked_up.public("api.example.com", turns) for _ in range(20)))
        assert {frozenset(one) for one in found} == {frozenset(("192.0.2.1", "192.0.2.2", "2001:db8::1"))}
        assert found[0][-1] == "2001:db8::1", "who has no IPv6 is not kept waiting"
        await public(looked_up, "api.example.com")

    uvloop.run(ask())
    assert sorted(dns_server.asked) == [("api.example.com", "A"), ("api.example.com", "AAAA")]


@pytest.mark.parametrize("name", ["missing.example.com", "broken.example.com", "a..b", "x" * 64 + ".com", "silent"])
def test_a_name_without_an_address_is_not_asked_for_by_each_visitor(dns_server, settings, name):
    dns_server.broken.add("broken.example.com")
    dns_server.is_silent = name == "silent"
    dns_timeout_s = 1 if dns_server.is_silent else settings.dns_timeout_s

    async def ask() -> None:
        looked_up = Names(settings.model_copy(update={"dns_timeout_s": dns_timeout_s}))
        for _ in range(2):
            with pytest.raises(UnknownName):
                await public(looked_up, name)
            asked = len(dns_server.asked)
        assert len(dns_server.asked) == asked

    uvloop.run(ask())


def test_what_was_found_is_looked_up_again_when_its_time_is_over(dns_server, settings, monkeypatch):
    monkeypatch.setattr(names, "KEPT_S", (0.0, 0.0))
    dns_server.put("moving.example.com", "A", "192.0.2.1")

    async def ask() -> None:
        looked_up = Names(settings)
        assert await public(looked_up, "moving.example.com") == ("192.0.2.1",)
        dns_server.put("moving.example.com", "A", "192.0.2.9")
        assert await public(looked_up, "moving.example.com") == ("192.0.2.9",)

    uvloop.run(ask())


def test_the_names_of_one_project_that_nobody_answers_for_hold_up_no_other_project(dns_server, settings):
    dns_server.put("api.example.com", "A", "192.0.2.1")
    dns_server.silent = {f"{number}.dead.example" for number in range(100)}

    async def ask() -> None:
        looked_up, hostile = Names(settings), asyncio.Semaphore(MAX_LOOK_UPS)
        dead = [asyncio.ensure_future(looked_up.public(name, hostile)) for name in sorted(dns_server.silent)]
        assert await public(looked_up, "api.example.com") == ("192.0.2.1",)
        assert not any(one.done() for one in dead), "and it waited for none of them"
        assert len({name for name, _ in dns_server.asked}) <= MAX_LOOK_UPS + 1
        for one in dead:
            one.cancel()
        await asyncio.gather(*dead, return_exceptions=True)

    uvloop.run(ask())


def test_a_name_that_had_to_wait_too_long_for_its_turn_is_not_unknown_to_other_projects(dns_server, settings):
    dns_server.put("api.example.com", "A", "192.0.2.1")

    async def ask() -> None:
        # Its turn does not come, whereas an answer does within this time.
        looked_up, taken = Names(settings.model_copy(update={"dns_timeout_s": 4})), asyncio.Semaphore(0)
        with pytest.raises(UnknownName):
            await looked_up.public("api.example.com", taken)
        assert await public(looked_up, "api.example.com") == ("192.0.2.1",)

    uvloop.run(ask())


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.0.2.1", "::1", "fd00::1"])
def test_a_name_that_leads_to_a_private_address_is_never_connected_to(dns_server, settings, address):
    dns_server.put("inner.example.com", "AAAA" if ":" in address else "A", address)
    dns_server.put("inner.example.com", "A" if ":" in address else "AAAA", "::2:3" if ":" not in address else "8.8.8.8")

    async def connect(host: str) -> None:
        with pytest.raises(PrivateAddress):
            await PublicBackend(Names(settings), ()).connect_tcp(host, 80, timeout=30)

    for host in ("inner.example.com", address, "localhost", "any.localhost", "LOCALHOST."):
        uvloop.run(connect(host))
    assert {name for name, _ in dns_server.asked} == {"inner.example.com"}


def test_what_an_address_was_found_to_be_counts_anew_with_each_connection(dns_server, settings, monkeypatch):
    monkeypatch.setattr(names, "KEPT_S", (0.0, 0.0))
    dns_server.put("rebinding.example.com", "A", "192.0.2.1")

    async def connect() -> None:
        backend = PublicBackend(Names(settings), ())
        for address in ("10.0.0.1", "127.0.0.1"):
            dns_server.put("rebinding.example.com", "A", address)
            with pytest.raises(PrivateAddress):
                await backend.connect_tcp("rebinding.example.com", 80, timeout=30)

    uvloop.run(connect())


def test_the_operators_own_hosts_are_found_as_the_system_does(dns_server, settings):
    async def connect() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for allowed in ("localhost", f"localhost:{port}"):
            stream = await PublicBackend(Names(settings), {allowed}).connect_tcp("localhost", port, timeout=30)
            await stream.aclose()
        with pytest.raises(PrivateAddress):
            await PublicBackend(Names(settings), {"localhost:1"}).connect_tcp("localhost", port, timeout=30)
        with pytest.raises(httpcore2.ConnectError):
            await PublicBackend(Names(settings), {"no-such-host.invalid"}).connect_tcp("no-such-host.invalid", 80)
        server.close()

    uvloop.run(connect())
    assert dns_server.asked == []
