"""Who really asks, when other proxies stand in front of us: told by the PROXY protocol or by X-Forwarded headers.

Anybody can send either, so only those at trusted addresses are believed. The PROXY protocol is that of HAProxy's
`doc/proxy-protocol.txt`, versions 1 and 2.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from autostack.proxy.cache import remembered
from autostack.setting_values import Network

V1_MARK = b"PROXY "
MAX_V1_BYTES = 107
V2_MARK = b"\r\n\r\n\0\r\nQUIT\n"
V2_HEAD_BYTES = 16
# Addresses and what a load balancer says beside them.
MAX_V2_BYTES = 4096
# By the byte for family and transport: the struct of both addresses and ports.
V2_ADDRESSES = {0x11: "!4s4sHH", 0x21: "!16s16sHH"}
LOCAL, PROXIED = 0x20, 0x21
# The part of an IPv6 address that one customer of a provider is given: the rest is theirs to vary.
IPV6_NETWORK_BITS = 64


class NotProxied(ValueError):
    """A connection from a hop that should begin with a PROXY header, and does not."""


class Hops:
    """The addresses of the proxies in front of us."""

    def __init__(self, networks: tuple[Network, ...] = ()) -> None:
        self._networks = networks
        self._is_within = lru_cache(maxsize=4096)(self._look_up)

    def trusts(self, address: str) -> bool:
        """Tell whether this is one of them."""
        return bool(self._networks) and self._is_within(address)

    def _look_up(self, address: str) -> bool:
        plain = read_address(address.encode())
        return plain is not None and any(ipaddress.ip_address(plain) in network for network in self._networks)

    def client(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Return the address of the visitor: the last in X-Forwarded-For that is no hop of ours, if `peer` is one."""
        if not self.trusts(peer):
            return peer
        client = peer
        for named in reversed(headers.get(b"x-forwarded-for", b"").split(b",")):
            address = read_address(named.strip())
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client

    def is_https(self, peer: str, headers: Mapping[bytes, bytes]) -> bool | None:
        """Tell whether the visitor speaks HTTPS with the first hop; None where no hop says so."""
        said = headers.get(b"x-forwarded-proto")
        if said is None or not self.trusts(peer):
            return None
        return said.rpartition(b",")[2].strip().lower() == b"https"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, as its socket or a trusted hop's PROXY header has it."""

    address: str
    hops: Hops

    @property
    def is_trusted(self) -> bool:
        """Tell whether it is a hop of ours, which may say something of the visitor."""
        return self.hops.trusts(self.address)

    def client(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the address of who sent a request with these headers."""
        return self.hops.client(self.address, headers)

    def is_https(self, headers: Mapping[bytes, bytes]) -> bool | None:
        """Tell whether a request with these headers came by HTTPS; None where nobody we trust says so."""
        return self.hops.is_https(self.address, headers)


NOBODY = Peer("", Hops())


def split_proxy_header(data: bytes) -> tuple[str | None, bytes] | None:
    """Return the source address that a PROXY header names and what follows it; None while more has to come.

    The address is None where the hop speaks for itself. Raises NotProxied.
    """
    if data.startswith(V2_MARK[: len(data)]):
        return _split_v2(data)
    if data.startswith(V1_MARK[: len(data)]):
        return _split_v1(data)
    raise NotProxied("no PROXY header")


def _split_v1(data: bytes) -> tuple[str | None, bytes] | None:
    line, mark, rest = data.partition(b"\r\n")
    if len(line) + 2 > MAX_V1_BYTES:
        raise NotProxied("a PROXY header without end")
    if not mark:
        return None
    match line.split(b" "):
        case [_, b"UNKNOWN", *_]:
            return None, rest
        case [_, b"TCP4" | b"TCP6", source, _, _, _] if address := read_address(source):
            return address, rest
    raise NotProxied("a PROXY header that is not well formed")


def _split_v2(data: bytes) -> tuple[str | None, bytes] | None:
    if len(data) < V2_HEAD_BYTES:
        return None
    command, kind, length = struct.unpack_from("!BBH", data, len(V2_MARK))
    if command not in (LOCAL, PROXIED) or length > MAX_V2_BYTES:
        raise NotProxied("a PROXY header that is not well formed")
    if len(data) < V2_HEAD_BYTES + length:
        return None
    rest = data[V2_HEAD_BYTES + length :]
    if command == LOCAL or kind not in V2_ADDRESSES:
        return None, rest
    if length < struct.calcsize(V2_ADDRESSES[kind]):
        raise NotProxied("a PROXY header that is too short")
    source = struct.unpack_from(V2_ADDRESSES[kind], data, V2_HEAD_BYTES)[0]
    return _plain(ipaddress.ip_address(source)), rest


@remembered(4096)
def read_address(text: bytes) -> str | None:
    """Return an address as we write it, without port and brackets; None for what is none."""
    name = text.decode("latin-1")
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        return _plain(ipaddress.ip_address(name))
    except ValueError:
        return None


def network_of(address: str) -> str:
    """Return the network whose attempts count together."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
    return str(parsed)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)
