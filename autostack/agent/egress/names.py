"""The name server of a sandbox: each name that exists gets an address of its own, by which a connection tells it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from autostack.agent.egress.namespaces import OWN_ADDRESS
from autostack.agent.egress.policy import Gate, NoAnswer, Refused, UnknownName

MAX_NAMES = 100_000
MAX_LOOKUPS = 256
TTL_S = 60


class Names(asyncio.DatagramProtocol):
    """Answers A with an address that stands for the name, and every other type with none.

    No IPv6 address is given, though that may be what the name has: which of its addresses answers is found out outside.
    """

    def __init__(self, gate: Gate, refuse: Callable[[str], None]) -> None:
        self._gate = gate
        self._refuse = refuse
        self._addresses: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._next = int(ipaddress.IPv4Address(OWN_ADDRESS))
        self._lookups: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def name_of(self, address: str) -> str:
        """Return the name that an address stands for, else the address."""
        return self._names.get(address, address)

    def close(self) -> None:
        for lookup in self._lookups:
            lookup.cancel()
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        if len(self._lookups) >= MAX_LOOKUPS:
            return  # Who asks, asks again.
        task = asyncio.get_running_loop().create_task(self._answer(data, sender))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _answer(self, data: bytes, sender: tuple[str, int]) -> None:
        try:
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query, recursion_available=True)
        except (dns.exception.DNSException, ValueError):
            return
        if len(query.question) != 1 or query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.REFUSED)
        else:
            await self._fill(response, query.question[0])
        if self._transport and not self._transport.is_closing():
            self._transport.sendto(response.to_wire(), sender)

    async def _fill(self, response: dns.message.Message, question: dns.rrset.RRset) -> None:
        name = question.name.to_text(omit_final_dot=True).lower()
        try:
            await self._gate.addresses(name, None)
        except UnknownName:
            response.set_rcode(dns.rcode.NXDOMAIN)
        except NoAnswer:
            response.set_rcode(dns.rcode.SERVFAIL)
        except Refused as refused:
            self._refuse(str(refused))
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            if question.rdtype == dns.rdatatype.A and question.rdclass == dns.rdataclass.IN:
                self._give_address(response, question, name)

    def _give_address(self, response: dns.message.Message, question: dns.rrset.RRset, name: str) -> None:
        if name not in self._addresses:
            if len(self._addresses) >= MAX_NAMES:
                response.set_rcode(dns.rcode.SERVFAIL)
                return
            self._next += 1
            self._addresses[name] = str(ipaddress.IPv4Address(self._next))
            self._names[self._addresses[name]] = name
        response.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", "A", self._addresses[name]))
