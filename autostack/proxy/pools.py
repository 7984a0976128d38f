"""Connections to other servers: each project has its own, so that a slow server holds up no other project's visitors.

Half of all there may be are for whoever comes; the other half only for projects that have few. So it takes hundreds of
projects with slow servers, and not a dozen, until another one's visitor is refused.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Iterable
from functools import cached_property
from ipaddress import ip_address

import httpcore2

from autostack.proxy.descriptors import allowed_descriptors
from autostack.proxy.names import Names, UnknownName
from autostack.public_addresses import is_public
from autostack.settings import Settings

# Requests of one project that are under way at once.
MAX_AT_ONCE = 32
# The same once half of all connections are taken.
FEW_AT_ONCE = 4
MAX_CONNECTIONS = 1_000
MAX_KEPT = 8
# Shorter than servers' own, so that a connection is not used just as it is closed.
KEEP_ALIVE_S = 4
# Names of one project that are looked up at once.
MAX_LOOK_UPS = 4
MAX_ADDRESSES = 8


class PrivateAddress(httpcore2.ConnectError):
    """A name that leads to an address of a private network."""


class Pool:
    """One project's connections."""

    def __init__(self, backend: PublicBackend, tls: ssl.SSLContext) -> None:
        self.under_way = 0
        self.closing: asyncio.TimerHandle | None = None
        self._kept = _new_pool(backend, tls, MAX_KEPT)
        # Keeps no connection, so that each request has one of its own.
        self._fresh = _new_pool(backend, tls, 0)

    async def ask(self, request: httpcore2.Request, *, anew: bool = False) -> httpcore2.Response:
        """Return the answer to a request, by a connection that was kept, if there is one and it may be that."""
        return await (self._fresh if anew else self._kept).handle_async_request(request)

    async def close(self) -> None:
        await self._kept.aclose()
        await self._fresh.aclose()


def _new_pool(backend: PublicBackend, tls: ssl.SSLContext, kept: int) -> httpcore2.AsyncConnectionPool:
    return httpcore2.AsyncConnectionPool(
        tls,
        max_connections=None,
        max_keepalive_connections=kept,
        keepalive_expiry=KEEP_ALIVE_S,
        network_backend=backend,
    )


class Pools:
    """All projects' connections. For one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._hosts_allowed = settings.rewrite_hosts_allowed
        self._names = Names(settings)
        self._pools: dict[str, Pool] = {}
        self._most = min(MAX_CONNECTIONS, allowed_descriptors() // 4)
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # To read the authorities' certificates takes a hundred times as long as a request.
        return httpcore2.default_ssl_context()

    def enter(self, project_id: str) -> Pool | None:
        """Begin a request of a project; None if too many are under way. What was begun must be left again."""
        pool = self._pools.get(project_id)
        is_half_full = self._under_way >= self._most // 2
        most = FEW_AT_ONCE if is_half_full else MAX_AT_ONCE
        if (pool is not None and pool.under_way >= most) or self._under_way >= self._most:
            return None
        if pool is None:
            pool = self._pools[project_id] = Pool(PublicBackend(self._names, self._hosts_allowed), self._tls)
        if pool.closing is not None:
            pool.closing.cancel()
            pool.closing = None
        pool.under_way += 1
        self._under_way += 1
        return pool

    def leave(self, project_id: str) -> None:
        """Note that a request of a project is at its end."""
        pool = self._pools[project_id]
        pool.under_way -= 1
        self._under_way -= 1
        if pool.under_way == 0:
            pool.closing = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self._close, project_id)

    def _close(self, project_id: str) -> None:
        task = asyncio.ensure_future(self._pools.pop(project_id).close())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class PublicBackend(httpcore2.AnyIOBackend):
    """Connects to the public internet only, and to the hosts that the operator allowed."""

    def __init__(self, names: Names, hosts_allowed: Collection[str]) -> None:
        self._names = names
        self._hosts_allowed = frozenset(hosts_allowed)
        self._turns = asyncio.Semaphore(MAX_LOOK_UPS)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to one of a host's addresses. Raises PrivateAddress if any of them is no public one."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._addresses(host.lower(), port)
        except TimeoutError:
            raise httpcore2.ConnectTimeout(f"no address for {host} in time") from None
        for address in addresses[:-1]:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await super().connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        is_allowed = not self._hosts_allowed.isdisjoint({host, f"{host}:{port}"})
        addresses = (host,) if _is_address(host) else await self._look_up(host, is_allowed)
        if not (is_allowed or all(map(is_public, addresses))):
            raise PrivateAddress(f"{host} is a private address")
        return addresses[:MAX_ADDRESSES]

    async def _look_up(self, host: str, is_allowed: bool) -> tuple[str, ...]:
        name = host.removesuffix(".")
        if not is_allowed and (name == "localhost" or name.endswith(".localhost")):
            # Of these, nobody is asked (RFC 6761, 6.3).
            raise PrivateAddress(f"{host} is a private address")
        try:
            if is_allowed:
                return await self._names.operators(host)
            return await self._names.public(host, self._turns)
        except UnknownName as error:
            raise httpcore2.ConnectError(str(error)) from None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
