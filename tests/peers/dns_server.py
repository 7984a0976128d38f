"""A DNS server that answers as a zone's own would: what tests put into it, aliases followed, over UDP."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL_S = 60
MAX_ALIASES = 8


@dataclass
class DnsServer:
    """`address` is what a resolver is told. `records` are values by name and type, `broken` names are SERVFAIL.

    Nothing is said about `silent` names.
    """

    address: str = ""
    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    is_silent: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    def put(self, name: str, kind: str, *values: str) -> None:
        """Make a name's records of a type; without values there are none."""
        self.records[name, kind] = list(values)

    def reset(self) -> None:
        self.records.clear()
        self.broken.clear()
        self.silent.clear()
        self.asked.clear()
        self.is_silent = False

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """Return what is said to a query, None for nothing at all."""
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.is_silent or name in self.silent:
            return None
        if name in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response
        self._fill(response, name, kind)
        return response

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        for _ in range(MAX_ALIASES):
            alias = self.records.get((name, "CNAME"))
            if not alias or kind == "CNAME":
                break
            response.answer.append(dns.rrset.from_text(name + ".", TTL_S, "IN", "CNAME", alias[0] + "."))
            name = alias[0]
        if values := self.records.get((name, kind)):
            quoted = [f'"{value}"' if kind == "TXT" else value for value in values]
            response.answer.append(dns.rrset.from_text(name + ".", TTL_S, "IN", kind, *quoted))
        elif not any(known == name and found for (known, _), found in self.records.items()):
            response.set_rcode(dns.rcode.NXDOMAIN)


@contextlib.contextmanager
def running_dns() -> Iterator[DnsServer]:
    """Run a DNS server on a free port of 127.0.0.1 until the block ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        server = DnsServer(f"127.0.0.1:{listening.getsockname()[1]}")
        thread = threading.Thread(target=_serve, args=(listening, server), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            # An empty datagram ends it: closing a socket wakes nobody who reads from it.
            listening.sendto(b"", listening.getsockname())
            thread.join()


def _serve(listening: socket.socket, server: DnsServer) -> None:
    while True:
        data, sender = listening.recvfrom(4096)
        if not data:
            return
        response = server.answer(dns.message.from_wire(data))
        if response is not None:
            listening.sendto(response.to_wire(), sender)
