"""How the way out of a sandbox speaks as a proxy, and carries connections that ask for none."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from autostack.agent.egress.policy import Gate, Policy
from autostack.agent.egress.relay import MAX_HEAD_BYTES, Direct, End, Proxied, Relay, by_turns
from autostack.public_addresses import Exemption
from tests.egress import INTERNET, Refusals, Resolver, nobody


@asynccontextmanager
async def proxy(gate: Gate, refusals: Refusals, trust: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    relay = Relay(gate, refusals.append, lambda address: address, trust)
    server = await asyncio.get_running_loop().create_server(lambda: Proxied(relay), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        relay.close()


@asynccontextmanager
async def origin(seen: list[bytes]) -> AsyncIterator[int]:
    """A server that answers each connection's first request, and notes what it was."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.read(100) if b"Content-Length" in seen[-1] else b"")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def say(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def through_proxy(request: bytes, *more: bytes, allowed: bool = True) -> tuple[bytes, list[bytes], Refusals]:
    """Send a request, in which ORIGIN is the address of a server, through the proxy."""
    seen: list[bytes] = []
    refusals = Refusals()

    async def run() -> bytes:
        async with origin(seen) as port:
            exemptions = (Exemption.parse(f"127.0.0.1:{port}"),) if allowed else ()
            async with proxy(Gate(Policy(True, exemptions), nobody), refusals) as proxy_port:
                return await say(proxy_port, request.replace(b"ORIGIN", b"127.0.0.1:%d" % port), *more)

    return asyncio.run(run()), seen, refusals


def test_a_tunnel_carries_what_is_said_in_it_and_what_came_with_its_request() -> None:
    answer, seen, refusals = through_proxy(
        b"CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\nGET / HTTP/1.1\r\n", b"\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK")
    assert seen[0] == b"GET / HTTP/1.1\r\n\r\n"
    assert refusals == []


def test_a_request_is_handed_on_without_what_was_meant_for_the_proxy() -> None:
    answer, seen, _ = through_proxy(
        b"POST http://ORIGIN/a?b=c HTTP/1.1\r\nHost: ORIGIN\r\nProxy-Authorization: Basic secret\r\n"
        b"Proxy-Connection: keep-alive\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbo",
        b"dy",
    )
    assert answer.endswith(b"\r\n\r\nhi")
    line, *fields = seen[0].split(b"\r\n")
    assert line == b"POST /a?b=c HTTP/1.1"
    assert [name for field in fields if (name := field.partition(b":")[0])] == [
        b"Host",
        b"Content-Length",
        b"Connection",
    ]
    assert b"Connection: close" in fields


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"CONNECT example.com HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT example.com:99999 HTTP/1.1\r\n\r\n", b"400"),
        (b"GET ftp://example.com/ HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT a\0b:443 HTTP/1.1\r\n\r\n", b"502"),
        (b"GET http://a\0b/ HTTP/1.1\r\n\r\n", b"502"),
        (b"GET http://a/ HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES, b"431"),
    ],
)
def test_what_is_no_request_to_a_proxy_is_answered_so(request_: bytes, status: bytes) -> None:
    answer, seen, _ = through_proxy(request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert seen == []


def test_a_connection_that_cannot_even_be_tried_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    # No certificate can be asked for of such names.
    hosts = (".leading.dot", "a" * 64 + ".example")

    async def run() -> list[bytes]:
        async with origin([]) as port:
            allowed = Policy(True, (Exemption.parse("127.0.0.1"),), {host: ["127.0.0.1"] for host in hosts})
            async with proxy(Gate(allowed, nobody), Refusals(), ssl.create_default_context()) as proxy_port:
                asked = [f"GET https://{host}:{port}/ HTTP/1.1\r\n\r\n" for host in hosts]
                return [await say(proxy_port, each.encode()) for each in asked]

    answers = asyncio.run(run())
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 502"] * 2
    # Once of a kind, however often a build has it happen.
    assert capsys.readouterr().err.count("egress: a connection was not made: ") == 1


def test_the_proxy_says_that_no_name_server_answered() -> None:
    async def run() -> bytes:
        gate = Gate(INTERNET, Resolver(socket.gaierror(socket.EAI_AGAIN, "again")))
        async with proxy(gate, Refusals()) as port:
            return await say(port, b"CONNECT a.example:443 HTTP/1.1\r\n\r\n")

    assert asyncio.run(run()).startswith(b"HTTP/1.1 504")


@pytest.mark.parametrize("request_", [b"CONNECT ORIGIN HTTP/1.1\r\n\r\n", b"GET http://ORIGIN/ HTTP/1.1\r\n\r\n"])
def test_the_proxy_says_what_builds_may_not_and_connects_tonobody(request_: bytes) -> None:
    answer, seen, refusals = through_proxy(request_, allowed=False)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"The build tried to reach 127.0.0.1:" in answer
    assert seen == []
    assert len(refusals) == 1


def test_a_connection_of_a_program_without_proxy_goes_where_it_was_made_to() -> None:
    seen: list[bytes] = []

    async def run() -> bytes:
        async with origin(seen) as port:
            gate = Gate(Policy(False, (Exemption.parse("site.internal"),), {"site.internal": ["127.0.0.1"]}), nobody)
            loop = asyncio.get_running_loop()
            relay = Relay(gate, Refusals().append, lambda _: "site.internal")
            # The port is the one that was connected to: here, an address beside the server's with the same port.
            server = await loop.create_server(lambda: Direct(relay), "127.0.0.2", port)
            try:
                reader, writer = await asyncio.open_connection("127.0.0.2", port)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                answer = await asyncio.wait_for(reader.read(), 10)
                writer.close()
                return answer
            finally:
                server.close()
                relay.close()

    assert asyncio.run(run()).endswith(b"hi")
    assert seen[0] == b"GET / HTTP/1.1\r\n\r\n"


def test_what_was_read_before_there_was_somebody_to_hand_it_to_goes_first() -> None:
    async def run() -> bytes:
        loop = asyncio.get_running_loop()
        program, ours = socket.socketpair()
        outside, other = socket.socketpair()
        with program, outside:
            transport, end = await loop.create_connection(End, sock=ours)
            _, peer = await loop.create_connection(End, sock=other)
            # As Python 3.11.2 does after `connection_made`, which paused it.
            transport.resume_reading()
            program.sendall(b"early ")
            async with asyncio.timeout(10):
                while transport.is_reading():  # noqa: ASYNC110 - nothing is set when a transport pauses
                    await asyncio.sleep(0)
            program.sendall(b"late")
            end.join(peer, b"opening ")
            program.shutdown(socket.SHUT_WR)
            reader, writer = await asyncio.open_connection(sock=outside)
            received = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return received

    assert asyncio.run(run()) == b"opening early late"


@asynccontextmanager
async def silent(port: int) -> AsyncIterator[None]:
    """Have nobody answer at a port of 127.0.0.2: the kernel drops what no queue has room for."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        for queued in (first, second):
            queued.setblocking(False)
            queued.connect_ex(("127.0.0.2", port))
        yield


@pytest.mark.parametrize("hosts", [["127.0.0.2", "127.0.0.1"], ["127.0.0.3", "127.0.0.1"]], ids=["silent", "refusing"])
def test_an_address_that_does_not_answer_keeps_nobody_from_the_next(hosts: list[str]) -> None:
    async def run() -> bytes:
        async with origin([]) as port, silent(port):
            gate = Gate(Policy(False, (Exemption.parse("site.internal"),), {"site.internal": hosts}), nobody)
            async with proxy(gate, Refusals()) as proxy_port:
                return await say(proxy_port, b"GET http://site.internal:%d/ HTTP/1.1\r\n\r\n" % port)

    assert asyncio.run(run()).endswith(b"hi")


def test_a_host_none_of_whose_addresses_answers_is_said_to_be_out_of_reach() -> None:
    async def run() -> bytes:
        async with origin([]) as port:
            hosts = ["127.0.0.2", "127.0.0.3"]
            gate = Gate(Policy(False, (Exemption.parse("site.internal"),), {"site.internal": hosts}), nobody)
            async with proxy(gate, Refusals()) as proxy_port:
                return await say(proxy_port, b"CONNECT site.internal:%d HTTP/1.1\r\n\r\n" % port)

    assert asyncio.run(run()).startswith(b"HTTP/1.1 502")


def test_addresses_of_both_kinds_are_tried_by_turns() -> None:
    assert by_turns(["::1", "::2", "::3", "10.0.0.1"]) == ["::1", "10.0.0.1", "::2", "::3"]
    assert by_turns(["10.0.0.1", "::1", "10.0.0.2"]) == ["10.0.0.1", "::1", "10.0.0.2"]
