"""What tests of a sandbox's way out share: names that are looked up, and what a build's log would say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import dns.asyncresolver
import dns.exception

from autostack.agent.egress.policy import Policy
from tests.peers.dns_server import DnsServer

PUBLIC, OTHER = "93.184.215.14", "93.184.215.15"
INTERNET = Policy(public=True)


def resolver_of(server: DnsServer) -> Callable[[str], Any]:
    """Return how the names of a test's DNS are looked up: each time anew."""
    host, _, port = server.address.partition(":")
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = [host], int(port), 60

    async def resolve(name: str) -> Sequence[str]:
        try:
            return [record.to_text() for record in await resolver.resolve(name, "A")]
        except (dns.asyncresolver.NXDOMAIN, dns.asyncresolver.NoAnswer):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        except dns.exception.DNSException:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution") from None

    return resolve


async def nobody(name: str) -> Sequence[str]:
    raise AssertionError(f"{name} is looked up")


class Resolver:
    """Answers every name with an address, or an error, once it may."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await self.may.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer]


class Refusals(list[str]):
    """What a build's log would say."""
