"""Whom a sandbox may reach, by which addresses: a name is looked up here, and what was checked is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil

from autostack.agent.egress.namespaces import PROXY_PORT
from autostack.public_addresses import Exemption, innermost, is_public, with_port

# Many hosts share an address at these.
WEB_PORTS = frozenset({80, 443})
MAX_NAME_CHARS = 253
LOOKUP_TIMEOUT_S = 20
# How long an answer is good for all who ask: a program asks for a name, and connects to it right after.
KEPT_S = 5
MAX_KEPT = 10_000
# As many threads more as may still wait for an answer that was given up.
MAX_LOOKUPS_AT_ONCE, THREADS = 64, 128
NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY}

Resolve = Callable[[str], Awaitable[Sequence[str]]]


class Refused(Exception):
    """A build may not connect there. The message is what the build's log says of it."""


class UnknownName(Exception):
    """No address has this name."""


class NoAnswer(Exception):
    """No name server said in time whether the name has an address."""


@dataclass(frozen=True)
class Policy:
    """`public`: the internet may be reached at `ports`, but for this machine. `exemptions` are reached in any case but

    where they are `refused`, as Autostack's own services are. `pins` are addresses that were looked up, and checked,
    before.
    """

    public: bool
    exemptions: tuple[Exemption, ...] = ()
    pins: Mapping[str, Sequence[str]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    ports: frozenset[int] = WEB_PORTS
    refused: tuple[Exemption, ...] = ()

    @classmethod
    def parse(cls, order: Mapping[str, Any]) -> Policy:
        """Read what the agent sends. Raises ValueError."""
        exemptions, refused = (tuple(map(Exemption.parse, order[name])) for name in ("allowed", "refused"))
        ports = frozenset(map(int, order["ports"]))
        return cls(bool(order["public"]), exemptions, order["pins"], own_addresses(), ports, refused)

    @property
    def listened(self) -> frozenset[int]:
        """The ports that are listened on in the sandbox's namespace: there the proxy's is its own."""
        return (self.ports | {exemption.port for exemption in self.exemptions if exemption.port}) - {PROXY_PORT}

    @property
    def which_ports(self) -> str:
        """What to say of a public host at another port."""
        named = ", ".join(map(str, sorted(self.ports))) or "none"
        return f": of a public host's ports, builds reach {named}" if self.public else ""

    def permits(self, host: str, address: str, port: int | None) -> bool:
        """Tell whether `host` may be reached by this address of it; without a port: by any."""
        if any(exemption.covers(host, address, port) for exemption in self.exemptions):
            return True
        if port is not None and port not in self.ports:
            return False
        return self.public and is_public(address) and innermost(address) not in self.own


def own_addresses() -> frozenset[str]:
    """Return the addresses of this machine."""
    found = (entry for entries in psutil.net_if_addrs().values() for entry in entries)
    return frozenset(entry.address.partition("%")[0] for entry in found if entry.family != psutil.AF_LINK)


class Gate:
    """Asks a policy about names and addresses as they are wanted."""

    def __init__(self, policy: Policy, resolve: Resolve) -> None:
        self.policy = policy
        self._resolve = resolve
        self._turns = asyncio.Semaphore(MAX_LOOKUPS_AT_ONCE)
        self._answers: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def addresses(self, host: str, port: int | None) -> list[str]:
        """Return by which addresses `host` may be connected to. Raises Refused, UnknownName or NoAnswer."""
        found = [plain_address(host)] if is_address(host) else await self._look_up(host)
        permitted = [address for address in found if self.policy.permits(host, address, port)]
        if not permitted:
            raise Refused(self._why_not(host, port, found))
        services = await self._services_at(port) if port else set()
        if services.intersection(permitted):
            raise Refused(f"{with_port(host, port)}, which builds may not")
        return permitted

    def _why_not(self, host: str, port: int | None, found: Sequence[str]) -> str:
        is_somewhere = any(is_public(address) and self.policy.permits(host, address, None) for address in found)
        if port is not None and port not in self.policy.ports and is_somewhere:
            return f"{with_port(host, port)}, which builds may not{self.policy.which_ports}"
        # Which address a name has is nothing that a build need learn.
        why = "" if host in found or any(map(is_public, found)) else " (not a public address)"
        return f"{with_port(host, port)}{why}, which builds may not"

    async def _services_at(self, port: int) -> set[str]:
        """Return the addresses of refused services at a port, less those that others share with them."""
        found: set[str] = set()
        for service in self.policy.refused:
            if service.port == port:
                found.update(await self._addresses_of(service))
        return {address for address in found if port not in WEB_PORTS or not is_public(address)}

    async def _addresses_of(self, service: Exemption) -> Sequence[str]:
        if service.name is None:
            return [plain_address(str(service.network).partition("/")[0])]
        try:
            return await self._look_up(service.name)
        except (UnknownName, NoAnswer):
            return []

    async def _look_up(self, host: str) -> Sequence[str]:
        if host in self.policy.pins:
            return self.policy.pins[host]
        if len(host) > MAX_NAME_CHARS:
            raise UnknownName(host)
        answer = self._answers.get(host)
        if answer is None:
            answer = self._answers[host] = asyncio.get_running_loop().create_task(self._ask(host))
            answer.add_done_callback(lambda done: self._keep(host, done))
        # Whoever asks may leave; the others wait on.
        return await asyncio.shield(answer)

    async def _ask(self, host: str) -> Sequence[str]:
        async with self._turns:
            try:
                found = await asyncio.wait_for(self._resolve(host), LOOKUP_TIMEOUT_S)
            except ValueError:
                # It holds what no name may.
                raise UnknownName(host) from None
            except socket.gaierror as error:
                raise (UnknownName if error.errno in NO_SUCH_NAME else NoAnswer)(host) from None
            except (OSError, TimeoutError):
                raise NoAnswer(host) from None
        if not found:
            raise UnknownName(host)
        return found

    def _keep(self, host: str, answer: asyncio.Task[Sequence[str]]) -> None:
        if answer.cancelled() or answer.exception() or len(self._answers) > MAX_KEPT:
            del self._answers[host]
        else:
            asyncio.get_running_loop().call_later(KEPT_S, self._answers.pop, host, None)


_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="names")


async def system_resolve(host: str) -> Sequence[str]:
    """Look a name up as this machine's programs do. Raises OSError, or ValueError."""
    ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    entries = await asyncio.get_running_loop().run_in_executor(_threads, ask)
    return list(dict.fromkeys(plain_address(str(entry[4][0])) for entry in entries))


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def plain_address(text: str) -> str:
    """Return an address in the one way that it is written here: no scope, and IPv4 as such."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
