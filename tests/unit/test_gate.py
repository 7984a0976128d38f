"""The gate before sites with a password: what it lets through, and what it holds in memory."""

from __future__ import annotations

import asyncio
import base64
import tracemalloc
import uuid

import bcrypt
import pytest

from autostack.proxy import gate as gates
from autostack.proxy.attempts import Buckets
from autostack.proxy.gate import SITES_MAX_HASHING, Gate, network_of, private
from autostack.proxy.hops import Hops, Peer
from autostack.proxy.messages import Request, Response
from autostack.settings import load_settings
from autostack.sites.routes import Protection, Route


def test_heads_of_answers_are_not_held_in_memory():
    tracemalloc.start()
    try:
        for number in range(50):
            # As long as another server, to which a rule leads, may make them.
            private(b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nX-Long: %s\r\n" % (number, b"a" * 90_000))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
    ],
)
def test_attempts_of_one_customers_network_count_together(address, network):
    assert network_of(address) == network


def test_a_visitor_waits_for_no_more_than_one_attempt_at_each_other_site():
    protection = Protection(bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode(), "key")
    done = []

    async def attempt(gate, site, password, number):
        basic = b"Basic " + base64.b64encode(b"x:" + password)
        peer = Peer(f"192.0.2.{number}", Hops())
        request = Request(b"GET", b"/", b"", "site.localhost", {b"authorization": basic}, peer=peer)
        refusal = await gate.refusal(request, Route("site", 1, site, str(uuid.uuid4())), protection)
        done.append(site)
        return refusal

    async def attack_and_visit():
        gate, visited = Gate(load_settings(), Buckets()), str(uuid.uuid4())
        attempts = [
            attempt(gate, site, b"wrong", number)
            for site in (str(uuid.uuid4()) for _ in range(10))
            for number in range(SITES_MAX_HASHING)
        ]
        *refusals, visitors = await asyncio.gather(*attempts, attempt(gate, visited, b"right", 200))
        assert all(refusals)
        assert visitors is None
        assert done.index(visited) < 2 * 11

    asyncio.run(attack_and_visit())


@pytest.fixture
def gate(monkeypatch) -> Gate:
    """One at which nothing of what is used up comes back."""
    for name in ("VISITORS_ATTEMPTS", "SITES_ATTEMPTS"):
        monkeypatch.setattr(gates, name, (getattr(gates, name)[0], 0.0))
    return Gate(load_settings(), Buckets())


ROUTE = Route("site", 1, str(uuid.uuid4()), str(uuid.uuid4()))
PROTECTION = Protection(bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode(), "key")


async def unlock(gate: Gate, password: str, address: str, cookie: str = "", host: str = "site.localhost") -> Response:
    """Send the form."""
    headers = {b"cookie": cookie.encode()} if cookie else {}
    body = f"password={password}".encode()
    peer = Peer(address, Hops())
    request = Request(b"POST", b"/.autostack/unlock", b"", host, headers, peer=peer, body=body)
    return await gate.unlock(request, ROUTE, PROTECTION)


def status(response: Response) -> int:
    return int(response.head[9:12])


def cookies_of(response: Response) -> dict[str, str]:
    lines = [line for line in response.head.decode().split("\r\n") if line.startswith("Set-Cookie: ")]
    return {pair.partition("=")[0]: pair for pair in (line[12:].partition(";")[0] for line in lines)}


async def use_up(gate: Gate) -> None:
    """Guess from as many addresses as it takes until no stranger may."""
    number = 0
    while status(await unlock(gate, "wrong", f"10.0.0.{number}")) == 401:
        number += 1
    assert number < 40


def test_guesses_from_many_addresses_keep_nobody_out_who_was_in_before(gate):
    async def attack_and_come() -> None:
        known = cookies_of(await unlock(gate, "right", "192.0.2.1"))["autostack-known"]
        await use_up(gate)
        assert status(await unlock(gate, "right", "192.0.2.2")) == 429
        assert status(await unlock(gate, "right", "192.0.2.2", known)) == 303
        assert status(await unlock(gate, "right", "192.0.2.2", f"autostack-known=tossed; {known}")) == 303
        forged = known[:-1] + ("A" if known[-1] != "A" else "B")
        assert status(await unlock(gate, "right", "192.0.2.3", forged)) == 429
        assert status(await unlock(gate, "right", "192.0.2.3", known, host="other.localhost")) == 429

    asyncio.run(attack_and_come())


def test_who_was_in_before_may_guess_no_more_often_than_others_and_opens_nothing_by_that(gate):
    async def guess() -> None:
        known = cookies_of(await unlock(gate, "right", "192.0.2.1"))["autostack-known"]
        request = Request(b"GET", b"/", b"", "site.localhost", {b"cookie": known.encode()})
        assert status(await gate.refusal(request, ROUTE, PROTECTION)) == 401
        guesses = [status(await unlock(gate, "wrong", f"10.0.0.{number}", known)) for number in range(10)]
        assert guesses == [401] * 5 + [429] * 5
        again = cookies_of(await unlock(gate, "right", "192.0.2.1", known))["autostack-known"]
        assert again.split(".")[1] == known.split(".")[1], "and he stays the same"

    asyncio.run(guess())


def test_that_one_visitor_knew_the_password_lets_nobody_guess_it_more_often(gate):
    async def guess() -> None:
        assert status(await unlock(gate, "right", "192.0.2.1")) == 303
        await use_up(gate)
        assert status(await unlock(gate, "right", "192.0.2.1")) == 303, "he is known to know it"
        assert status(await unlock(gate, "right", "192.0.2.2")) == 429, "or limits would be none for who guesses right"

    asyncio.run(guess())
