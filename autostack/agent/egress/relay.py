"""Carries connections out of a sandbox: those to ports 80 and 443, and those that ask a proxy (RFC 9110)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from asyncio.staggered import staggered_race
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import cast
from urllib.parse import urlsplit

from autostack.agent.egress.policy import Gate, NoAnswer, Refused, UnknownName, plain_address

CONNECT_TIMEOUT_S = 20
# RFC 8305, 8: how long an address has before the next is tried beside it.
ATTEMPT_DELAY_S = 0.25
MAX_ADDRESSES = 16
HEAD_TIMEOUT_S = 60
MAX_HEAD_BYTES = 64 * 1024
MAX_CONNECTIONS = 1_000
# What a proxy keeps to itself (RFC 9110, 7.6.1), and that nobody hands on a second request over this connection.
HOP_BY_HOP = {b"connection", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"keep-alive"}
DEFAULT_PORTS = {"http": 80, "https": 443}


class Relay:
    """Connects outside for one sandbox. `refuse` is told what builds may not, `name_of` what an address stands for."""

    def __init__(
        self,
        gate: Gate,
        refuse: Callable[[str], None],
        name_of: Callable[[str], str],
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._gate = gate
        self._refuse = refuse
        self._trust = trust
        self._ends: set[End] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._noted: set[type[Exception]] = set()
        self.name_of = name_of

    def admit(self, end: End) -> bool:
        """Count a connection that came in; tell whether there is room for it."""
        self._ends.add(end)
        if len(self._ends) <= MAX_CONNECTIONS:
            return True
        self._refuse(f"more than {MAX_CONNECTIONS:,} addresses at once, which builds may not")
        return False

    def forget(self, end: End) -> None:
        self._ends.discard(end)

    def join(self, end: End, host: str, port: int, opening: bytes, *, tls: bool = False) -> None:
        """Connect `end` with `host`; begin with `opening`. Hands over to `end.failed` if that cannot be."""
        task = asyncio.get_running_loop().create_task(self._join(end, host, port, opening, tls))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        for end in list(self._ends):
            end.abort()

    async def _join(self, end: End, host: str, port: int, opening: bytes, tls: bool) -> None:
        try:
            other = await self._connect(host, port, tls)
        except Refused as refused:
            self._refuse(str(refused))
            end.failed(403, f"The build tried to reach {refused}")
        except UnknownName:
            end.failed(502, f"There is no host named {host}")
        except NoAnswer:
            end.failed(504, f"No name server said in time what {host} is")
        except (OSError, TimeoutError) as error:
            end.failed(502, f"{host}:{port} could not be reached: {error or 'it did not answer in time'}")
        except Exception as error:  # noqa: BLE001 - what user code asks for must leave nobody waiting
            self._note(error)
            end.failed(502, "This cannot be connected to")
        else:
            end.join(other, opening)

    def _note(self, error: Exception) -> None:
        # Once of a kind: a build can have it happen as often as it likes.
        if type(error) not in self._noted:
            self._noted.add(type(error))
            print(f"egress: a connection was not made: {error!r}", file=sys.stderr)

    async def _connect(self, host: str, port: int, tls: bool) -> End:
        loop = asyncio.get_running_loop()
        addresses = by_turns(await self._gate.addresses(host, port))[:MAX_ADDRESSES]
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            connected, _, errors = await staggered_race(
                [partial(_dial, address, port) for address in addresses], ATTEMPT_DELAY_S
            )
            if connected is None:
                raise next(error for error in errors if error)
            _, other = await loop.create_connection(
                End, sock=connected, ssl=self._trust if tls else None, server_hostname=host if tls else None
            )
            return other


def by_turns(addresses: Sequence[str]) -> list[str]:
    """Return addresses with IPv6 and IPv4 in turn, beginning as they begin (RFC 8305, 4)."""
    families: dict[bool, list[str]] = {}
    for address in addresses:
        families.setdefault(":" in address, []).append(address)
    turns = zip_longest(*families.values())
    return [address for turn in turns for address in turn if address is not None]


async def _dial(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio sends small writes at once (TCP_NODELAY) where the protocol is named.
    connection = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


class End(asyncio.Protocol):
    """One end of a relayed connection: what it receives goes to its peer, no faster than that takes it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: End | None = None
        self._said_all = False
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Until there is somebody to hand it on to.
        self.transport.pause_reading()

    def join(self, peer: End, opening: bytes) -> None:
        """Be one connection with `peer`, which gets `opening` first."""
        if self.transport is None or self.transport.is_closing():
            peer.abort()
            return
        self.peer, peer.peer = peer, self
        peer.write(opening + self._early)
        self.joined()
        self.write(peer._early)
        for end in (self, peer):
            if end.transport and not end.transport.is_closing():
                end.transport.resume_reading()

    def joined(self) -> None:
        """Say so, where the client waits for it."""

    def failed(self, status: int, reason: str) -> None:
        """Say that there is no connection, as far as the client can be told."""
        self.abort()

    def write(self, data: bytes) -> None:
        if self.transport and data:
            self.transport.write(data)

    def abort(self) -> None:
        if self.transport:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.peer:
            self.peer.write(data)
        elif self.transport:
            # Python 3.11.2, Debian's, begins to read after `connection_made`, though that paused it: it is paused anew.
            self._early += data
            self.transport.resume_reading()
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._said_all = True
        if self.peer and self.peer.transport and not self.peer._said_all and self.peer.transport.can_write_eof():
            self.peer.transport.write_eof()
            return True
        return False

    def pause_writing(self) -> None:
        if self.peer and self.peer.transport:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.peer and self.peer.transport:
            # An end that broke off must not look like one that was meant.
            end = self.peer.transport.abort if error else self.peer.transport.close
            end()
        self.peer = None


class Direct(End):
    """A connection whose program knows of no proxy: what it was made to says where it goes."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._relay.admit(self):
            self.abort()
            return
        address, port = transport.get_extra_info("sockname")[:2]
        self._relay.join(self, self._relay.name_of(plain_address(address)), port, b"")

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.forget(self)
        super().connection_lost(error)


class Proxied(End):
    """A connection whose program asks for another in words: CONNECT, or a request with a whole address."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay
        self._head = b""
        self._is_tunnel = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._relay.admit(self):
            self.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self.abort)
        cast(asyncio.Transport, transport).resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._relay.forget(self)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self.peer:
            super().data_received(data)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            self._begin(head, rest)
        elif len(self._head) > MAX_HEAD_BYTES:
            self.failed(431, "The request's head is too large")

    def joined(self) -> None:
        if self._is_tunnel:
            self.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def failed(self, status: int, reason: str) -> None:
        if self.transport:
            body = f"{reason}\n".encode()
            head = f"HTTP/1.1 {status} Refused\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
            self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            self.transport.close()

    def _begin(self, head: bytes, rest: bytes) -> None:
        if self._timer:
            self._timer.cancel()
        if self.transport:
            self.transport.pause_reading()
        try:
            method, target, version = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
            self._is_tunnel = method == "CONNECT"
            parts = urlsplit(f"//{target}" if self._is_tunnel else target)
            host = (parts.hostname or "").rstrip(".")
            port = parts.port or DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            self.failed(400, "This is no request")
            return
        if not host or port is None:
            self.failed(400, "This is a proxy: a request needs a whole address, http:// or https://")
            return
        opening = rest
        if not self._is_tunnel:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            opening = _for_server(head, f"{method} {path} {version}") + rest
        # Old versions of axios ask a proxy for https addresses as for any other: they trust it to speak TLS.
        self._relay.join(self, host, port, opening, tls=parts.scheme == "https")


def _for_server(head: bytes, request_line: str) -> bytes:
    """Return a request's head as its server gets it: one request a connection, of which the proxy is no part."""
    fields = [line for line in head.split(b"\r\n")[1:] if line.partition(b":")[0].strip().lower() not in HOP_BY_HOP]
    return b"\r\n".join([request_line.encode("ascii"), *fields, b"Connection: close", b"", b""])
