"""Where a request comes from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from flask import request


def client_address() -> IPv4Address | IPv6Address | None:
    """Return the client's address; None where a proxy forwards none, or writes one as it likes."""
    try:
        client = ip_address(request.remote_addr or "")
    except ValueError:
        return None
    if isinstance(client, IPv6Address):
        if client.ipv4_mapped:
            return client.ipv4_mapped
        # Without the zone, which is the proxy's own business and of any length.
        return IPv6Address(client.packed)
    return client
