"""60. X-Forwarded-For and Host made up, `next` leading elsewhere, the time that a refused log-in takes.

→ limits hold, links are fixed, redirects stay here, and an unknown address takes as long as a wrong password.
"""

from __future__ import annotations

import statistics
import time

import pytest

from autostack.accounts import mails
from autostack.extensions import settings
from tests.people import Api, Browser

LIMIT = "3/minute"
WRONG = {"email": "alice@example.com", "password": "wrong password"}
EVIL = "evil.example"


def log_ins(app, headers):
    """Return the answers to one log-in with each of these headers."""
    client = app.test_client(use_cookies=False)
    return [client.post("/api/auth/login", json=WRONG, headers=given).status_code for given in headers]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Client-IP", "CF-Connecting-IP"])
def test_f60_no_header_makes_a_caller_another_one(make_app, alice, name):
    headers = [{name: f"for=203.0.113.{number}" if name == "Forwarded" else f"203.0.113.{number}"} for number in "1234"]
    assert log_ins(make_app(rate_limit_auth=LIMIT), headers) == [401, 401, 401, 429]


def test_f60_behind_a_proxy_only_what_that_added_counts(make_app, alice):
    app = make_app(rate_limit_auth=LIMIT, trusted_proxies=1)
    spoofed = [{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7"} for number in "1234"]
    assert log_ins(app, spoofed) == [401, 401, 401, 429]
    assert log_ins(app, [{"X-Forwarded-For": "198.51.100.8"}]) == [401]


def test_f60_addresses_of_one_network_of_ipv6_are_one_caller(make_app, alice):
    app = make_app(rate_limit_auth=LIMIT, trusted_proxies=1)
    headers = [{"X-Forwarded-For": f"2001:db8:1:2::{number}"} for number in "1234"]
    assert log_ins(app, headers) == [401, 401, 401, 429]


@pytest.mark.parametrize("hops", [0, 1])
def test_f60_a_mails_link_leads_to_us_whatever_host_was_asked(make_app, alice, hops):
    app = make_app(trusted_proxies=hops)
    headers = {"Host": EVIL, "X-Forwarded-Host": EVIL, "X-Forwarded-Proto": "http", "Origin": f"http://{EVIL}"}
    asked = app.test_client().post("/api/auth/forgot-password", json={"email": alice.email}, headers=headers)
    assert asked.status_code == 200
    with app.app_context():
        folder = settings().data_dir / "mail"
        before = set(folder.glob("*.eml"))
        mails.send_due()
        # One confirms the address, the other sets a password.
        written = [mail.read_text() for mail in set(folder.glob("*.eml")) - before]
        assert len(written) == 2
        assert all(f"{settings().app_url}/" in mail and EVIL not in mail for mail in written)


@pytest.mark.parametrize(
    "target",
    [
        *(f"//{EVIL}", f"https://{EVIL}", f"/\\{EVIL}", f"\\\\{EVIL}", f"/\t/{EVIL}", f"/\n/{EVIL}", f" //{EVIL}"),
        *(f"///{EVIL}", f"http:{EVIL}", f"javascript:alert('{EVIL}')", f"@{EVIL}", f".{EVIL}", f"%2f%2f{EVIL}"),
    ],
)
def test_f60_logging_in_leads_nowhere_else(app, alice, target):
    given = {"email": alice.email, "password": alice.password}
    browser = Browser(app)
    answered = browser.post("/login", given, query_string={"next": target})
    assert answered.status_code == 303
    assert answered.location == "/dashboard"
    again = browser.get("/login", query_string={"next": target})
    assert (again.status_code, again.location) == (302, "/dashboard")


def test_f60_redirects_name_no_host(app, alice):
    answered = app.test_client().get("/projects", headers={"Host": EVIL, "X-Forwarded-Host": EVIL})
    assert answered.location == "/login?next=/projects"


def test_f60_an_unknown_address_takes_as_long_as_a_wrong_password(make_app, alice):
    # As dear as in production, so that the hash is what takes the time.
    app = make_app(bcrypt_rounds=10)
    client = Api(app)
    client.post("/api/auth/signup", {"name": "Eve", "email": "eve@example.com", "password": alice.password})
    accounts = {"known": "eve@example.com", "unknown": "nobody@example.com"}
    times: dict[str, list[float]] = {name: [] for name in accounts}
    for _ in range(9):
        for name, email in accounts.items():
            # This thread's alone: a busy machine lengthens it by as much for both, but not in the same request.
            start = time.thread_time()
            answered = client.post("/api/auth/login", {**WRONG, "email": email})
            times[name].append(time.thread_time() - start)
            assert (answered.status_code, answered.json["error"]["code"]) == (401, "INVALID_CREDENTIALS")
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    assert 0.5 < medians["unknown"] / medians["known"] < 2
