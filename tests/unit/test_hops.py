"""Who asks, when proxies stand in front of us."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_network

import pytest

from autostack.proxy.hops import V2_MARK, Hops, NotProxied, Peer, split_proxy_header

HOPS = Hops((ip_network("10.0.0.0/8"), ip_network("::1/128")))


def v2(command: int, kind: int, addresses: bytes) -> bytes:
    return V2_MARK + struct.pack("!BBH", command, kind, len(addresses)) + addresses


def tcp4(source: str) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 5000, 80)


def tcp6(source: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, source) * 2 + struct.pack("!HH", 5000, 80)


@pytest.mark.parametrize(
    "header, address",
    [
        (b"PROXY TCP4 1.2.3.4 10.0.0.1 5000 80\r\n", "1.2.3.4"),
        (b"PROXY TCP6 2001:db8::1 ::1 5000 80\r\n", "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        (v2(0x21, 0x11, tcp4("1.2.3.4")), "1.2.3.4"),
        (v2(0x21, 0x11, tcp4("1.2.3.4") + b"\x04\x00\x01x"), "1.2.3.4"),
        (v2(0x21, 0x21, tcp6("2001:db8::1")), "2001:db8::1"),
        (v2(0x21, 0x21, tcp6("::ffff:1.2.3.4")), "1.2.3.4"),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, tcp4("1.2.3.4")), None),
        (v2(0x21, 0x31, b"x" * 216), None),
    ],
)
def test_a_proxy_header_names_the_source_however_it_is_cut(header, address):
    assert split_proxy_header(header + b"GET /") == (address, b"GET /")
    for end in range(len(header)):
        assert split_proxy_header(header[:end]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 1.2.3.4\r\n",
        b"PROXY TCP4 nobody 10.0.0.1 5000 80\r\n",
        b"PROXY UDP4 1.2.3.4 10.0.0.1 5000 80\r\n",
        b"PROXY UNKNOWN " + b"x" * 100,
        b"\r\n\r\nGET",
        v2(0x31, 0x11, tcp4("1.2.3.4")),
        v2(0x22, 0x11, tcp4("1.2.3.4")),
        v2(0x21, 0x11, tcp4("1.2.3.4")[:-1]),
        V2_MARK + struct.pack("!BBH", 0x21, 0x11, 60_000),
    ],
)
def test_what_is_no_proxy_header_is_refused(data):
    with pytest.raises(NotProxied):
        split_proxy_header(data)


@pytest.mark.parametrize(
    "peer, forwarded, client",
    [
        ("10.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", b"6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", b"6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
        ("::1", b"1.2.3.4:5000", "1.2.3.4"),
        ("::1", b"[2001:db8::1]:5000", "2001:db8::1"),
        ("::ffff:10.0.0.1", b"::ffff:1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", b"10.2.2.2, 10.3.3.3", "10.2.2.2"),
        ("10.0.0.1", b"1.2.3.4, unknown", "10.0.0.1"),
        ("10.0.0.1", b"unknown, 10.3.3.3", "10.3.3.3"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("1.1.1.1", b"1.2.3.4", "1.1.1.1"),
    ],
)
def test_only_a_trusted_hop_is_believed_whom_it_asks_for(peer, forwarded, client):
    assert Peer(peer, HOPS).client({b"x-forwarded-for": forwarded}) == client
    assert Peer(peer, Hops()).client({b"x-forwarded-for": forwarded}) == peer


@pytest.mark.parametrize(
    "peer, said, is_https",
    [
        ("10.0.0.1", b"https", True),
        ("10.0.0.1", b"http, HTTPS", True),
        ("10.0.0.1", b"http", False),
        ("1.1.1.1", b"https", None),
    ],
)
def test_only_a_trusted_hop_is_believed_how_it_was_asked(peer, said, is_https):
    assert Peer(peer, HOPS).is_https({b"x-forwarded-proto": said}) is is_https
    assert Peer(peer, HOPS).is_https({}) is None
