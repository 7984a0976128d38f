"""The name server of a sandbox, and what it says of packets that lead nowhere."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import dns.asyncquery
import dns.message
from dns import rcode

from autostack.agent.egress.names import Names
from autostack.agent.egress.packets import ETHER_IPV4, ETHER_IPV6, TCP, UDP, read_packet
from autostack.agent.egress.policy import Gate
from tests.egress import INTERNET, PUBLIC, Refusals, Resolver, resolver_of
from tests.peers.dns_server import DnsServer


def ask_names(dns_server: DnsServer, *questions: tuple[str, str]) -> tuple[list[dns.message.Message], Names, Refusals]:
    """Ask a sandbox's name server, over UDP."""
    refusals = Refusals()

    async def run() -> tuple[list[dns.message.Message], Names]:
        names = Names(Gate(INTERNET, resolver_of(dns_server)), refusals.append)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: names, ("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        try:
            queries = [dns.message.make_query(name, kind) for name, kind in questions]
            return [await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=10) for query in queries], names
        finally:
            names.close()

    answers, names = asyncio.run(run())
    return answers, names, refusals


def test_each_name_stands_for_an_address_by_which_it_is_known_again(dns: DnsServer) -> None:
    dns.put("a.example", "A", PUBLIC)
    dns.put("b.example", "A", PUBLIC)
    dns.put("db.internal", "A", "10.0.0.5")
    questions = [("a.example", "A"), ("b.example", "A"), ("A.example", "A"), ("a.example", "AAAA")]
    answers, names, refusals = ask_names(dns, *questions, ("nobody.example", "A"), ("db.internal", "A"))
    first, second, again, none, unknown, private = answers
    given = [message.answer[0][0].address for message in (first, second, again)]
    assert given == ["198.18.0.2", "198.18.0.3", "198.18.0.2"]
    assert [names.name_of(address) for address in given] == ["a.example", "b.example", "a.example"]
    assert names.name_of("10.9.9.9") == "10.9.9.9"
    assert none.answer == []
    assert none.rcode() == dns_code("NOERROR")
    assert unknown.rcode() == private.rcode() == dns_code("NXDOMAIN")
    assert refusals == ["db.internal (not a public address), which builds may not"]


def test_the_name_server_says_when_it_got_no_answer() -> None:
    async def run() -> dns.message.Message:
        names = Names(Gate(INTERNET, Resolver(TimeoutError())), Refusals().append)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: names, ("127.0.0.1", 0))
        try:
            port = transport.get_extra_info("sockname")[1]
            return await dns.asyncquery.udp(
                dns.message.make_query("a.example", "A"), "127.0.0.1", port=port, timeout=10
            )
        finally:
            names.close()

    assert asyncio.run(run()).rcode() == dns_code("SERVFAIL")


def dns_code(name: str) -> Any:
    return rcode.from_text(name)


def test_a_packet_says_where_it_goes() -> None:
    ports = struct.pack("!HH", 40_000, 5432)
    four = bytes([0x45]) + bytes(8) + bytes([TCP]) + bytes(2) + bytes([127, 0, 0, 1, 10, 0, 0, 5]) + ports
    assert read_packet(four, ETHER_IPV4) == (TCP, "10.0.0.5", 5432)
    six = bytes(6) + bytes([UDP]) + bytes(1) + bytes(16) + bytes([0xFD, *[0] * 14, 5]) + ports
    assert read_packet(six, ETHER_IPV6) == (UDP, "fd00::5", 5432)
