"""What another server is asked with."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from autostack.proxy.hops import Hops, Peer
from autostack.proxy.messages import Request
from autostack.proxy.upstream import headers_for

HOPS = Hops((ip_network("10.0.0.0/8"),))
MADE_UP = (
    b"x-real-ip",
    b"true-client-ip",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-original-url",
    b"forwarded",
)


def asked(peer: str, headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    request = Request(b"GET", b"/", b"", "site.localhost", headers, peer=Peer(peer, HOPS))
    return dict(headers_for(request, "https://api.example.com/x", is_protected=False, country_header=b"cf-ipcountry"))


def test_nothing_is_passed_on_that_a_visitor_could_make_up_of_himself() -> None:
    headers = asked("192.0.2.7", {b"accept": b"*/*"} | dict.fromkeys(MADE_UP, b"evil"))
    assert b"evil" not in headers.values()
    assert headers[b"accept"] == b"*/*"
    assert headers[b"x-forwarded-for"] == b"192.0.2.7"
    assert headers[b"x-forwarded-host"] == b"site.localhost"
    assert b"x-forwarded-proto" not in headers


@pytest.mark.parametrize("scheme", [b"http", b"https"])
def test_how_a_visitor_came_is_what_a_trusted_hop_says(scheme: bytes) -> None:
    headers = asked("10.1.1.1", {b"x-forwarded-for": b"192.0.2.7", b"x-forwarded-proto": scheme})
    assert (headers[b"x-forwarded-for"], headers[b"x-forwarded-proto"]) == (b"192.0.2.7", scheme)


@pytest.mark.parametrize(("peer", "told"), [("10.1.1.1", b"AT"), ("192.0.2.7", None)])
def test_a_visitors_country_is_what_a_trusted_hop_says(peer: str, told: bytes | None) -> None:
    assert asked(peer, {b"cf-ipcountry": b"AT"}).get(b"cf-ipcountry") == told
