"""Domains: names as people type them, the records that they need, and the states that looks at DNS lead to."""

from __future__ import annotations

import itertools

import pytest

from autostack.domains import names
from autostack.domains.names import Record
from autostack.domains.status import MOVES, DomainStatus, Finding, after
from autostack.errors import Invalid
from autostack.settings import load_settings

SETTINGS = load_settings(app_url="https://deploy.acme.example", sites_domain="acme-sites.example")
PENDING, VERIFIED, ACTIVE, FAILING = DomainStatus


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("www.example.com", "www.example.com"),
        (" WWW.Example.COM. ", "www.example.com"),
        ("https://www.example.com:8443/about?x=1", "www.example.com"),
        ("example.co.uk", "example.co.uk"),
        ("bücher.example.com", "xn--bcher-kva.example.com"),
        ("BÜCHER.example.com", "xn--bcher-kva.example.com"),
        # The company's own, whose dashboard is below it.
        ("acme.example", "acme.example"),
    ],
)
def test_a_name_is_read_as_dns_has_it(typed, name):
    assert names.read(typed, SETTINGS) == name


@pytest.mark.parametrize(
    "typed",
    ["", ".", "http://", "localhost", "127.0.0.1", "[::1]", "http://[::1", "2001:db8::1", "com", "co.uk",
     "*.example.com", "a b.com", "-x.example.com", "exa_mple.com", "a" * 64 + ".com", "x" * 301,
     "example.com" + ".x" * 120, "www..example.com", "exa\u0000mple.com", "ex\u2024ample.com.",
     "acme-sites.example", "site.acme-sites.example", "deploy.acme.example"],
)  # fmt: skip
def test_what_can_be_no_sites_domain_is_refused(typed):
    with pytest.raises(Invalid) as refused:
        names.read(typed, SETTINGS)
    assert list(refused.value.details) == ["name"]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("example.com", "www.example.com"),
        ("www.example.co.uk", "example.co.uk"),
        ("blog.example.com", None),
        ("www.blog.example.com", None),
    ],
)
def test_a_registered_domain_and_its_www_belong_together(name, other):
    assert names.counterpart(name) == other


def test_a_name_below_a_registered_domain_gets_an_alias():
    assert names.records("www.example.com", "secret", "site.acme-sites.example", ["192.0.2.1"]) == [
        Record("TXT", "_autostack.example.com", "autostack-verification=secret"),
        Record("CNAME", "www.example.com", "site.acme-sites.example"),
    ]


def test_a_registered_domain_gets_addresses_where_they_are_known():
    made = names.records("example.com", "secret", "site.acme-sites.example", ["2001:db8::1", "192.0.2.1"])
    assert [(record.type, record.value) for record in made[1:]] == [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")]
    assert names.records("example.com", "secret", "site.acme-sites.example", [])[1].type == "ALIAS"


def test_names_are_shown_with_the_letters_they_were_registered_with():
    assert names.shown("xn--bcher-kva.example.com") == "bücher.example.com"
    assert names.shown("xn--a.example.com") == "xn--a.example.com"


@pytest.mark.parametrize(
    ("status", "owned", "points_here", "grace_is_over", "expected"),
    [
        (PENDING, False, None, False, PENDING),
        (PENDING, True, False, False, VERIFIED),
        (PENDING, True, True, False, ACTIVE),
        (PENDING, True, None, False, VERIFIED),
        (PENDING, None, None, True, PENDING),
        (VERIFIED, True, True, False, ACTIVE),
        (ACTIVE, True, False, False, VERIFIED),
        (ACTIVE, True, None, False, ACTIVE),
        (ACTIVE, None, None, True, ACTIVE),
        (ACTIVE, False, None, True, FAILING),
        (FAILING, False, None, False, FAILING),
        (FAILING, False, None, True, PENDING),
        (FAILING, None, None, True, FAILING),
        (FAILING, True, True, True, ACTIVE),
    ],
)
def test_a_look_at_dns_leads_to_a_state(status, owned, points_here, grace_is_over, expected):
    assert after(status, Finding(owned, points_here), grace_is_over=grace_is_over) is expected


def test_no_look_at_dns_leads_to_a_move_that_is_not_in_the_table():
    answers = (True, False, None)
    for status, owned, points_here, is_over in itertools.product(DomainStatus, answers, answers, (True, False)):
        target = after(status, Finding(owned, points_here), grace_is_over=is_over)
        assert target is status or target in MOVES[status]


@pytest.mark.parametrize(
    ("app", "sites", "shared"),
    [
        ("https://acme.example", "acme.example", True),
        ("https://acme.example", "sites.acme.example", True),
        ("https://deploy.acme.example", "acme.example", True),
        ("https://deploy.acme.example", "sites.acme.example", True),
        ("https://acme.example", "acme-sites.example", False),
        ("https://deploy.acme.co.uk", "sites.co.uk", False),
        # Browsers refuse a cookie for all of a public suffix.
        ("https://deploy.github.io", "github.io", False),
        ("http://localhost:8000", "localhost", False),
    ],
)
def test_a_domain_of_sites_whose_cookies_the_dashboard_receives_is_noticed(app, sites, shared):
    assert names.shares_cookies(app, sites) is shared
