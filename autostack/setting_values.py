"""How a setting's text is read: durations, rates, addresses, names."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_settings import NoDecode

DURATION = re.compile(r"(\d+)\s*(ms|s|m|h|d|w)?")
RATE = re.compile(r"[1-9]\d*\s*(/|per)\s*(\d+\s*)?(second|minute|hour|day)s?", re.IGNORECASE)
SECONDS_PER_UNIT = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
Network = IPv4Network | IPv6Network
Names = Annotated[frozenset[str], NoDecode]
MAX_PORTS = 100


def check_ports(ports: frozenset[int]) -> frozenset[int]:
    """Return what is a few ports. Raises ValueError."""
    if len(ports) > MAX_PORTS or not all(0 < port < 65_536 for port in ports):
        raise ValueError(f"must be at most {MAX_PORTS} ports, from 1 to 65535")
    return ports


Ports = Annotated[frozenset[int], NoDecode, AfterValidator(check_ports)]


def parse_duration(text: str | int | float) -> int:
    """Return whole seconds for `7d`, `15m`, `90s`, `500ms` or a bare number of seconds. Raises ValueError."""
    match = DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("must be a duration such as 15m, 12h or 7d")
    seconds = int(match[1]) * SECONDS_PER_UNIT[match[2] or "s"]
    if seconds < 1:
        raise ValueError("must be at least one second")
    return int(seconds)


def split_address(text: str) -> tuple[str, int | None]:
    """Return the IP address and the port of `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`.

    Raises ValueError.
    """
    match = re.fullmatch(r"\[([^]]+)\]:(\d{1,5})|([^:]+):(\d{1,5})", text)
    address, port = (match[1] or match[3], int(match[2] or match[4])) if match else (text, None)
    if port is not None and not 1 <= port <= 65_535:
        raise ValueError(f"{text} has no port of a server")
    return str(ip_address(address)), port


def origin(address: str) -> str:
    """Return an address's origin as a browser writes it: without a port that its scheme has anyway."""
    parts = urlsplit(address)
    default_port = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port and parts.port != default_port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"
