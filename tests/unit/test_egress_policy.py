"""Whom the way out of a sandbox lets a build reach, and how names are looked up."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest

from autostack.agent.egress import policy
from autostack.agent.egress.policy import Gate, NoAnswer, Policy, Refused, UnknownName
from autostack.agent.network import Reach
from autostack.public_addresses import Exemption, innermost, is_public
from tests.egress import INTERNET, OTHER, PUBLIC, Resolver, nobody, resolver_of
from tests.peers.dns_server import DnsServer


def addresses(gate: Gate, host: str, port: int | None = 443) -> list[str]:
    return asyncio.run(gate.addresses(host, port))


@pytest.mark.parametrize(
    "entry", ["", "https://a.example", "a.example/", "10.0.0.5/8", "a.example:0", "a.example:65536", "a b", "*", "-a:1"]
)
def test_an_exemption_is_a_host_or_a_network(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host"):
        Exemption.parse(entry)


@pytest.mark.parametrize(
    ("entry", "host", "address", "port", "covered"),
    [
        ("registry.internal", "registry.internal", "10.0.0.5", 443, True),
        ("registry.internal:4873", "registry.internal", "10.0.0.5", 4873, True),
        ("registry.internal:4873", "registry.internal", "10.0.0.5", 22, False),
        ("registry.internal:4873", "registry.internal", "10.0.0.5", None, True),
        ("registry.internal", "evil.example", "10.0.0.5", 443, False),
        ("10.1.0.0/16", "any.example", "10.1.2.3", 443, True),
        ("10.1.0.0/16", "any.example", "10.2.2.3", 443, False),
        ("10.0.0.5:80", "10.0.0.5", "10.0.0.5", 80, True),
        ("[fd00::5]:80", "fd00::5", "fd00::5", 80, True),
        ("fd00::/8", "x.example", "10.0.0.5", 80, False),
    ],
)
def test_an_exemption_covers_what_it_names(
    entry: str, host: str, address: str, port: int | None, covered: bool
) -> None:
    assert Exemption.parse(entry).covers(host, address, port) is covered


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.5",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *(
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.170",
            "::1",
            "::",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "fec0::1",
        ),
        *("168.63.129.16", "192.0.0.9", "192.0.0.192", "192.88.99.1", "3fff::1", "::ffff:168.63.129.16"),
        *("::ffff:10.0.0.5", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:5", "2002:a00:5::1", "::10.0.0.5"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(Refused):
        addresses(Gate(INTERNET, resolve=nobody), address)


def test_an_address_of_this_machine_is_refused_though_it_is_public() -> None:
    own = Gate(Policy(public=True, own=frozenset({PUBLIC})), resolve=nobody)
    assert is_public(PUBLIC)
    for address in (PUBLIC, f"::ffff:{PUBLIC}", "64:ff9b::5db8:d70e"):
        assert innermost(address) == PUBLIC
        with pytest.raises(Refused):
            addresses(own, address)
    assert addresses(own, OTHER) == [OTHER]


def test_a_name_counts_as_the_addresses_that_it_has_at_the_moment(dns: DnsServer) -> None:
    def now(host: str) -> list[str]:
        return addresses(Gate(INTERNET, resolver_of(dns)), host)

    dns.put("rebinding.example", "A", PUBLIC)
    assert now("rebinding.example") == [PUBLIC]
    dns.put("rebinding.example", "A", "169.254.169.254")
    # What address an internal name has is nobody's business.
    with pytest.raises(Refused, match=r"^rebinding\.example:443 \(not a public address\), which builds may not$"):
        now("rebinding.example")
    dns.put("rebinding.example", "A", "10.0.0.5", PUBLIC)
    assert now("rebinding.example") == [PUBLIC]
    with pytest.raises(UnknownName):
        now("nobody.example")


def test_an_address_of_this_machine_is_not_said_to_be_private() -> None:
    gate = Gate(Policy(public=True, own=frozenset({PUBLIC})), resolve=Resolver(PUBLIC))
    with pytest.raises(Refused, match=r"^own\.example:443, which builds may not$"):
        addresses(gate, "own.example")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no name"), UnknownName),
        (socket.gaierror(socket.EAI_NODATA, "no data"), UnknownName),
        (ValueError("embedded null character"), UnknownName),
        (UnicodeError("label too long"), UnknownName),
        (socket.gaierror(socket.EAI_AGAIN, "again"), NoAnswer),
        (socket.gaierror(socket.EAI_FAIL, "failure"), NoAnswer),
        (TimeoutError(), NoAnswer),
    ],
)
def test_a_name_server_that_does_not_answer_is_no_missing_name(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        addresses(Gate(INTERNET, Resolver(error)), "a.example")


def test_all_who_ask_at_once_share_a_look_up_and_its_answer_is_kept() -> None:
    async def run() -> None:
        resolver = Resolver(PUBLIC)
        resolver.may.clear()
        gate = Gate(INTERNET, resolver)
        asking = [asyncio.create_task(gate.addresses("a.example", 443)) for _ in range(20)]
        await asyncio.sleep(0)
        # One who leaves takes nobody's answer away.
        asking.pop(0).cancel()
        resolver.may.set()
        assert await asyncio.gather(*asking) == [[PUBLIC]] * 19
        assert await gate.addresses("a.example", 80) == [PUBLIC]
        assert resolver.asked == ["a.example"]
        resolver.answer = socket.gaierror(socket.EAI_AGAIN, "again")
        for _ in range(2):
            with pytest.raises(NoAnswer):
                await gate.addresses("b.example", 80)
        assert resolver.asked == ["a.example", "b.example", "b.example"]

    asyncio.run(run())


def test_a_look_up_that_waits_for_its_turn_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LOOKUP_TIMEOUT_S", 0.2)

    async def resolve(host: str) -> Sequence[str]:
        if host.startswith("slow"):
            await asyncio.Event().wait()
        return [PUBLIC]

    async def run() -> None:
        gate = Gate(INTERNET, resolve)
        slow = [gate.addresses(f"slow{number}.example", 443) for number in range(2 * policy.MAX_LOOKUPS_AT_ONCE)]
        *given_up, found = await asyncio.gather(*slow, gate.addresses("quick.example", 443), return_exceptions=True)
        assert {type(each) for each in given_up} == {NoAnswer}
        assert found == [PUBLIC]

    asyncio.run(run())


def test_slow_names_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than asyncio has threads for, and the system's resolver cannot be interrupted."""
    ended = threading.Event()

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host.startswith("slow"):
            ended.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 0))]

    async def run() -> None:
        gate = Gate(INTERNET, policy.system_resolve)
        slow = [asyncio.create_task(gate.addresses(f"slow{number}.example", 443)) for number in range(40)]
        await asyncio.sleep(0)
        assert await gate.addresses("quick.example", 443) == [PUBLIC]
        assert not any(each.done() for each in slow)
        ended.set()
        await asyncio.gather(*slow)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    asyncio.run(run())


def test_an_allowed_name_may_have_a_private_address_and_no_other_name_that(dns: DnsServer) -> None:
    dns.put("registry.internal", "A", "10.0.0.5")
    dns.put("evil.example", "A", "10.0.0.5")
    gate = Gate(Policy(public=True, exemptions=(Exemption.parse("registry.internal:4873"),)), resolver_of(dns))
    assert addresses(gate, "registry.internal", 4873) == ["10.0.0.5"]
    for host, port in (("registry.internal", 5432), ("evil.example", 4873), ("10.0.0.5", 4873)):
        with pytest.raises(Refused):
            addresses(gate, host, port)


def test_a_clone_has_the_addresses_that_were_checked_and_asks_for_no_other() -> None:
    of_clone = Policy.parse(asdict(Reach(False, allowed=("git.example:443",), pins={"git.example": [PUBLIC]})))
    gate = Gate(of_clone, resolve=nobody)
    assert addresses(gate, "git.example") == [PUBLIC]
    assert of_clone.listened == {80, 443}
    with pytest.raises(Refused):
        addresses(gate, OTHER)


@pytest.mark.parametrize("port", [25, 465, 587, 5432, 8443])
def test_a_public_host_is_reached_at_ports_that_lead_out_alone(port: int) -> None:
    gate = Gate(Policy(public=True, ports=frozenset({22, 80, 443})), Resolver(PUBLIC))
    assert addresses(gate, "git.example", 22) == [PUBLIC]
    said = f"git.example:{port}, which builds may not: of a public host's ports, builds reach 22, 80, 443"
    with pytest.raises(Refused) as refused:
        addresses(gate, "git.example", port)
    assert str(refused.value) == said


def test_the_ports_of_hosts_that_are_allowed_are_listened_on_and_lead_out_for_nobody_else() -> None:
    allowed = Policy(public=True, exemptions=(Exemption.parse("mail.example:587"), Exemption.parse("10.0.0.5:800")))
    # That of the proxy is its own: there, the proxy leads to it.
    assert allowed.listened == {80, 443, 587}
    gate = Gate(allowed, Resolver(PUBLIC))
    assert addresses(gate, "mail.example", 587) == [PUBLIC]
    with pytest.raises(Refused):
        addresses(gate, "other.example", 587)


def test_a_private_host_is_not_said_to_be_reached_at_another_port() -> None:
    with pytest.raises(Refused, match=r"^db\.internal:5432 \(not a public address\), which builds may not$"):
        addresses(Gate(INTERNET, Resolver("10.0.0.5")), "db.internal", 5432)


def test_autostacks_own_services_are_refused_wherever_they_are_and_by_each_of_their_names(dns: DnsServer) -> None:
    dns.put("db.example", "A", PUBLIC)
    dns.put("alias.example", "A", PUBLIC)
    dns.put("store.internal", "A", "10.0.0.9")
    services = tuple(
        map(Exemption.parse, ("db.example:5432", "store.internal:9000", "10.0.0.7:6379", "gone.example:5432"))
    )
    allowed = (Exemption.parse("10.0.0.0/8"),)
    policy_ = Policy(public=True, exemptions=allowed, ports=frozenset({443, 5432}), refused=services)

    def now(host: str, port: int) -> list[str]:
        return addresses(Gate(policy_, resolver_of(dns)), host, port)

    for host, port in (
        ("db.example", 5432),
        ("alias.example", 5432),
        (PUBLIC, 5432),
        ("store.internal", 9000),
        ("10.0.0.9", 9000),
        ("10.0.0.7", 6379),
    ):
        with pytest.raises(Refused, match=r", which builds may not$"):
            now(host, port)
    assert now("10.0.0.9", 4873) == ["10.0.0.9"]
    assert now("alias.example", 443) == [PUBLIC]


def test_a_service_at_a_port_of_the_web_is_refused_where_nobody_shares_its_address(dns: DnsServer) -> None:
    dns.put("store.example", "A", PUBLIC)
    dns.put("store.internal", "A", "10.0.0.9")
    services = tuple(map(Exemption.parse, ("store.example:443", "store.internal:443")))
    policy_ = Policy(public=True, exemptions=(Exemption.parse("10.0.0.0/8"),), refused=services)
    assert addresses(Gate(policy_, resolver_of(dns)), "store.example") == [PUBLIC]
    with pytest.raises(Refused):
        addresses(Gate(policy_, resolver_of(dns)), "store.internal")
