"""Which addresses belong to the public internet: where visitors and owners may have us connect to."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?")
WITH_PORT = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]]+)(:(?P<port>[0-9]{1,5}))?")

# What Python takes for public: Azure's own server beside each machine, what networks keep for themselves (RFC 6890;
# Oracle's metadata among it), the anycast of 6to4 (RFC 7526), and what examples are written with (RFC 9637).
NOT_PUBLIC = tuple(
    map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20")),
)


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public internet's; an address within an address counts as itself."""
    ip = ipaddress.ip_address(innermost(address))
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local:
        return False
    if any(ip in network for network in NOT_PUBLIC):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def innermost(address: str) -> str:
    """Return the IPv4 address that an IPv6 address leads to (mapped, 6to4, Teredo, NAT64), else the address itself."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _nat64(ip) or ip)


def _nat64(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address in 64:ff9b::/96 (RFC 6052)."""
    well_known = ipaddress.IPv6Network("64:ff9b::/96")
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in well_known else None


def with_port(host: str, port: int | None) -> str:
    """Return a host as addresses are written, with its port if there is one: `[fd00::5]:80`."""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


@dataclass(frozen=True)
class Exemption:
    """What may be reached though it is not public: a name, or a network (an address is one), at a port or at all."""

    name: str | None
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    port: int | None

    @classmethod
    def parse(cls, entry: str) -> Exemption:
        """Read `registry.internal`, `registry.internal:4873`, `10.0.0.5:4873`, `[fd00::5]:4873` or `10.1.0.0/16`.

        Raises ValueError.
        """
        entry = entry.strip().lower()
        if network := _network(entry):
            return cls(None, network, None)
        match = WITH_PORT.fullmatch(entry)
        if match is None:
            raise ValueError(f"{entry!r} is neither a host, with or without a port, nor a network")
        host, port = match["host"].strip("[]"), int(match["port"]) if match["port"] else None
        network = _network(host) if "/" not in host else None
        if (port is not None and not 0 < port < 65_536) or not (network or HOST_NAME.fullmatch(host)):
            raise ValueError(f"{entry!r} is neither a host, with or without a port, nor a network")
        return cls(None if network else host, network, port)

    def covers(self, host: str, address: str, port: int | None) -> bool:
        """Tell whether `host`, which has this address, may be reached at `port`, or (None) at any port."""
        if self.port is not None and port is not None and port != self.port:
            return False
        return host == self.name or (self.network is not None and ipaddress.ip_address(address) in self.network)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None
