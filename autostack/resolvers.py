"""How DNS is asked: by the settings' servers, else by the system's."""

from __future__ import annotations

from typing import TypeVar

import dns.nameserver
import dns.resolver

from autostack.setting_values import split_address
from autostack.settings import Settings

DNS_PORT = 53

R = TypeVar("R", bound=dns.resolver.BaseResolver)


def new_resolver(kind: type[R], settings: Settings) -> R:
    """Return a resolver that keeps nothing and takes DNS_TIMEOUT for an answer at most."""
    try:
        # Read anew each time: a machine may move to another network.
        resolver = kind(configure=not settings.dns_servers)
    except dns.resolver.NoResolverConfiguration:
        resolver = kind(configure=False)
    if settings.dns_servers:
        servers = [split_address(server) for server in sorted(settings.dns_servers)]
        resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port or DNS_PORT) for address, port in servers]
    resolver.lifetime = settings.dns_timeout_s
    resolver.cache = None
    return resolver
