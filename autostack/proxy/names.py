"""The addresses of other servers, by name. Looking one up takes no thread: those are few, and names may be hostile.

All who ask for a name at once wait for one look-up, and what it found is kept as long as DNS says, within limits. What
is kept is no promise: who connects checks the address that he connects to, each time.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from autostack.proxy.cache import Recent, SingleFlight
from autostack.resolvers import new_resolver
from autostack.settings import Settings

MAX_KEPT = 4_096
# However long DNS says: a server that moved is found again, and one that is asked all the time not looked up each time.
KEPT_S = (1.0, 300.0)
# A name that nobody answers for would be asked for by every visitor.
FAILURE_KEPT_S = 3.0
SYSTEM_KEPT_S = 5.0
SYSTEM_TIMEOUT_S = 20.0

_Found = tuple[tuple[str, ...], float]


class UnknownName(Exception):
    """Nobody knows an address for a name, or nobody says so in time."""


class Names:
    """Looks names up. For one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # What was found, and until when it is good; nothing is a finding, too.
        self._kept: Recent[tuple[bool, str], _Found] = Recent(MAX_KEPT)
        # One server that does not answer may be followed by one that does.
        self._by_dns: SingleFlight[tuple[asyncio.Semaphore, str], _Found] = SingleFlight(settings.dns_timeout_s + 1)
        self._by_system: SingleFlight[str, _Found] = SingleFlight(SYSTEM_TIMEOUT_S)

    async def public(self, name: str, turns: asyncio.Semaphore) -> tuple[str, ...]:
        """Return the addresses that DNS has for a whole name, at least one. Raises UnknownName.

        `turns` are those of the project whose rule has the name: DNS has one of them even when nobody waits any more.
        """
        return await self._find(
            (True, name), lambda: self._by_dns.run((turns, name), lambda: self._ask_dns(name, turns))
        )

    async def operators(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a name that the operator chose: as the system finds them, by /etc/hosts, too.

        That takes a thread for a while, so it is not for names that anybody may choose. Raises UnknownName.
        """
        return await self._find((False, name), lambda: self._by_system.run(name, lambda: _ask_system(name)))

    async def _find(self, key: tuple[bool, str], look_up: Callable[[], Awaitable[_Found]]) -> tuple[str, ...]:
        found = self._kept.get(key)
        if found is None or found[1] <= time.monotonic():
            try:
                found = await look_up()
            except TimeoutError:
                # It may only have waited for its project's turn: that is no finding for others.
                raise UnknownName(f"no address of {key[1]} was found in time") from None
            self._kept.put(key, found)
        if not found[0]:
            raise UnknownName(f"there is no host named {key[1]}")
        return found[0]

    async def _ask_dns(self, name: str, turns: asyncio.Semaphore) -> _Found:
        async with turns:
            resolver = new_resolver(dns.asyncresolver.Resolver, self._settings)
            # IPv4 first: who has no IPv4 is told so at once, who has no IPv6 often only by silence.
            answers = await asyncio.gather(*(_answer(resolver, name, kind) for kind in ("A", "AAAA")))
        heard = [answer for answer in answers if answer is not None]
        addresses = tuple(str(record.address) for answer in heard for record in answer)
        if not addresses or len(heard) < len(answers):
            return addresses, time.monotonic() + FAILURE_KEPT_S
        ttl_s = min(answer.expiration for answer in heard) - time.time()
        shortest_s, longest_s = KEPT_S
        return addresses, time.monotonic() + min(max(ttl_s, shortest_s), longest_s)


async def _answer(resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> dns.resolver.Answer | None:
    try:
        return await resolver.resolve(dns.name.from_text(name), kind, raise_on_no_answer=False)
    except (dns.exception.DNSException, OSError, UnicodeError):
        return None


async def _ask_system(name: str) -> _Found:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return (), time.monotonic() + FAILURE_KEPT_S
    addresses = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return tuple(addresses), time.monotonic() + SYSTEM_KEPT_S
