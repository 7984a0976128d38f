"""Counting in the proxy: what is noted of a request, and in how much memory."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import ipaddress
import itertools
import time
import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostack.proxy.counts import BATCH_BYTES, Counts, referring_host, told
from autostack.proxy.hops import Hops, Peer
from autostack.proxy.limits import MAX_DEBT_S, Limits
from autostack.proxy.messages import Request, Tally
from autostack.proxy.top import Top
from autostack.sites.routes import Route
from autostack.sites.traffic import MAX_BATCH_BYTES, MAX_NAMES, Batch, Kind, Limit, TrafficInvalid
from autostack.sites.visitors import MAX_BYTES, Visitors

PROJECT = str(uuid.uuid4())
SALT = b"s" * 32
NAMES = st.lists(st.sampled_from([f"name-{number}" for number in range(30)]), max_size=300)


def route(kind="production", project_id=PROJECT):
    return Route("site", 1, project_id, str(uuid.uuid4()), kind)


def request(path=b"/", address="192.0.2.1", **headers):
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request(b"GET", path, b"", "site.localhost", named, peer=Peer(address, Hops()))


def taken(counts):
    """Return what was counted, through the format that it travels in."""
    (batch,) = counts.take()
    assert Batch.from_json(batch.to_json()) == batch
    return {site.is_preview: site for site in batch.sites}


@pytest.fixture
def counts():
    return Counts()


def test_requests_bytes_and_statuses_add_up(counts):
    for status, size in ((b"200", 100), (b"200", 100), (b"304", 10), (b"404", 50), (b"503", 5)):
        counts.note(route(), request(), status, size)
    site = taken(counts)[False]
    assert (site.requests, site.sent_bytes, site.statuses) == (5, 265, {2: 2, 3: 1, 4: 1, 5: 1})


def test_what_was_prepared_adds_up_with_what_was_not(counts):
    tally = Tally(PROJECT, False, b"/a", True, b"200")
    for _ in range(3):
        counts.hit(tally, request(b"/a", user_agent="A", referer="https://news.example/"), 100)
    counts.note(route(), request(b"/a", user_agent="A"), b"304", 10)
    site = taken(counts)[False]
    assert (site.requests, site.sent_bytes, site.statuses) == (4, 310, {2: 3, 3: 1})
    assert site.top == {Kind.PAGE: {"/a": 4}, Kind.REFERRER: {"news.example": 3}}
    assert Visitors.from_bytes(site.visitors).estimate() == 1
    counts.hit(tally, request(b"/a"), 100)
    assert taken(counts)[False].requests == 1


def test_what_is_asked_for_again_counts_for_whoever_asks(counts):
    tally = Tally(PROJECT, False, b"/a", True, b"200")
    asked = request(b"/a", user_agent="A", referer="https://news.example/")
    counts.hit(tally, asked, 100)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2"):
        counts.hit_again(tally, told(tally, asked), Peer(address, Hops()), 100)
    site = taken(counts)[False]
    assert (site.requests, site.sent_bytes, site.top[Kind.REFERRER]) == (4, 400, {"news.example": 4})
    assert Visitors.from_bytes(site.visitors).estimate() == 2
    preview = Tally(PROJECT, True, b"/a", True, b"200")
    counts.hit_again(preview, told(preview, asked), asked.peer, 100)
    assert taken(counts)[True].requests == 1


def test_each_batch_begins_at_nothing(counts):
    counts.note(route(), request(), b"200", 100)
    first = taken(counts)
    assert (first[False].requests, counts.take()) == (1, [])


def test_paths_count_as_pages_files_and_what_is_missing(counts):
    for path, status in ((b"/a", b"200"), (b"/a", b"304"), (b"/app.js", b"206"), (b"/no", b"404"), (b"/b", b"308")):
        counts.note(route(), request(path), status, 1)
    top = taken(counts)[False].top
    assert top == {Kind.PAGE: {"/a": 2}, Kind.FILE: {"/app.js": 1}, Kind.MISSING: {"/no": 1}}


def test_a_path_counts_decoded_without_its_query_and_cut(counts):
    counts.note(route(), Request(b"GET", b"/caf%C3%A9", b"token=secret", "h", {}), b"200", 1)
    counts.note(route(), request(b"/" + b"x" * 3000), b"200", 1)
    assert taken(counts)[False].top == {Kind.PAGE: {"/café": 1, "/" + "x" * 199: 1}}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b"https://News.example/item?id=secret", "news.example"),
        (b"http://user:pass@example.org:8080/", "example.org"),
        (b"android-app://com.example", None),
        (b"javascript:alert(1)", None),
        (b"https://[", None),
        (b"\xff\xfe", None),
        (b"https://a b/", None),
        (b"", None),
    ],
)
def test_of_a_referrer_only_the_host_is_kept(header, name):
    assert referring_host(header) == name


def test_links_within_the_site_are_no_referrers(counts):
    for page in ("https://site.localhost/about", "https://news.example/1", "https://news.example/2"):
        counts.note(route(), request(referer=page), b"200", 1)
    assert taken(counts)[False].top[Kind.REFERRER] == {"news.example": 2}


def test_what_a_page_asks_for_came_from_no_referrer(counts):
    for path in (b"/", b"/app.js"):
        counts.note(route(), request(path, referer="https://news.example/"), b"200", 1)
    assert taken(counts)[False].top[Kind.REFERRER] == {"news.example": 1}


def test_behind_a_trusted_hop_visitors_differ_by_what_it_says(counts):
    hops = Hops((ipaddress.ip_network("192.0.2.0/24"),))
    for client in (b"198.51.100.1", b"198.51.100.2, 192.0.2.7", b"198.51.100.1"):
        asked = Request(b"GET", b"/", b"", "h", {b"x-forwarded-for": client}, peer=Peer("192.0.2.9", hops))
        counts.note(route(), asked, b"200", 1)
    assert Visitors.from_bytes(taken(counts)[False].visitors).estimate() == 2


def test_visitors_differ_by_address_and_browser(counts):
    for address, browser in (("192.0.2.1", "A"), ("192.0.2.1", "A"), ("192.0.2.1", "B"), ("192.0.2.2", "A")):
        counts.note(route(), request(address=address, user_agent=browser), b"200", 1)
    assert Visitors.from_bytes(taken(counts)[False].visitors).estimate() == 3


def test_previews_tell_sums_only(counts):
    counts.note(route("branch"), request(referer="https://news.example/"), b"200", 7)
    site = taken(counts)[True]
    assert (site.sent_bytes, site.top, site.visitors) == (7, {}, b"")


def test_no_address_and_no_browser_leaves_the_proxy(counts):
    counts.note(route(), request(address="192.0.2.77", user_agent="Secret/1.0"), b"200", 1)
    (batch,) = counts.take()
    assert b"192.0.2.77" not in batch.to_json()
    assert b"Secret" not in batch.to_json()


def test_whatever_is_asked_for_takes_bounded_memory(counts):
    for number in range(20_000):
        headers = {"referer": f"https://{number}.example/" + "y" * 3000, "user_agent": f"{number}" + "z" * 3000}
        asked = request(b"/%d" % number + b"x" * 3000, f"192.0.2.{number}", **headers)
        if number % 2:
            counts.note(route(), asked, b"200", 1)
        else:
            counts.hit(Tally(PROJECT, False, asked.path, True, b"200"), asked, 1)
    (batch,) = counts.take()
    (site,) = batch.sites
    assert site.requests == 20_000
    assert {kind: len(names) for kind, names in site.top.items()} == {Kind.PAGE: MAX_NAMES, Kind.REFERRER: MAX_NAMES}
    assert len(batch.to_json()) < 100_000


def test_sites_whose_names_are_as_long_as_can_be_make_batches_that_can_be_read(counts):
    for site in range(30):
        to = route(project_id=str(uuid.UUID(int=site)))
        for number in range(MAX_NAMES):
            counts.note(to, request(b"/%d" % number + b"%01" * 160), b"404", 1)
    batches = counts.take()
    read = [Batch.from_json(batch.to_json()) for batch in batches]
    assert read == batches
    assert len({batch.id for batch in read}) == len(read) > 1
    assert sum(site.requests for batch in read for site in batch.sites) == 30 * MAX_NAMES
    assert all(len(batch.to_json()) < BATCH_BYTES + 1_000 for batch in batches)


def test_without_names_a_batch_has_the_same_sums_and_visitors(counts):
    counts.note(route(), request(b"/a", user_agent="A", referer="https://news.example/"), b"200", 7)
    (batch,) = counts.take()
    (site,), (bare,) = batch.sites, batch.without_names().sites
    assert site.top
    assert bare == dataclasses.replace(site, top={})
    assert batch.without_names().id == batch.id


def test_a_batch_belongs_to_the_hour_in_which_it_was_begun():
    times = iter([dt.datetime(2026, 5, 1, 23, 59, 58, tzinfo=dt.UTC), dt.datetime(2026, 5, 2, tzinfo=dt.UTC)])
    counts = Counts(lambda: next(times))
    counts.note(route(), request(), b"200", 1)
    (batch,) = counts.take()
    assert batch.hour == dt.datetime(2026, 5, 1, 23, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"id":"x","began":"now","sites":[]}', b" " * (MAX_BATCH_BYTES + 1)]
)
def test_what_is_no_batch_is_refused(data):
    with pytest.raises(TrafficInvalid):
        Batch.from_json(data)


@given(NAMES, st.integers(1, 12))
def test_the_most_frequent_are_never_counted_too_often_and_found_if_frequent_enough(names, capacity):
    top, truth = Top(capacity), Counter(names)
    for name in names:
        top.add(name, 1)
    certain = top.certain()
    assert len(certain) <= capacity
    assert all(count <= truth[name] for name, count in certain.items())
    # The algorithm's promise: who has more than an equal share is among them.
    assert {name for name, count in truth.items() if count > len(names) / capacity} <= certain.keys()


@given(NAMES)
def test_as_long_as_there_is_room_counts_are_exact(names):
    top = Top(30)
    for name, run in itertools.groupby(names):
        top.add(name, len(list(run)))
    assert top.certain() == Counter(names)


@pytest.mark.parametrize("number", [0, 1, 2, 10, 1_000, 4_000, 10_000, 50_000])
def test_the_estimate_of_visitors_is_near(number):
    visitors = Visitors()
    for one in range(number):
        visitors.add(SALT, f"2001:db8::{one:x}", b"Mozilla/5.0")
    assert visitors.estimate() == pytest.approx(number, rel=0.06, abs=0.5)


def test_visitors_of_two_proxies_count_once():
    first, second, both = Visitors(), Visitors(), Visitors()
    for one in range(3_000):
        (first if one % 2 else second).add(SALT, str(one), b"")
        both.add(SALT, str(one), b"")
    first.merge(Visitors.from_bytes(second.to_bytes()))
    assert first.to_bytes() == both.to_bytes()


@pytest.mark.parametrize("data", [b"12", b"\xff\xff\x01", b"\x00\x00\x00", b"\x00\x00\xff", b"\x00" * (MAX_BYTES + 3)])
def test_registers_that_are_none_are_refused(data):
    with pytest.raises(ValueError, match="registers"):
        Visitors.from_bytes(data)


def test_a_stopped_project_is_refused_and_no_other():
    limits = Limits(1_000)
    limits.take({PROJECT: Limit.STOP})
    assert (limits.is_any, limits.refusal(PROJECT), limits.refusal(str(uuid.uuid4()))) == (True, 402, None)


def test_a_throttled_project_waits_once_it_has_sent_its_share():
    limits = Limits(1_000)
    limits.take({PROJECT: Limit.THROTTLE})
    assert limits.refusal(PROJECT) is None
    limits.spend(PROJECT, 100_000)
    assert limits.refusal(PROJECT) == 429
    limits.take({PROJECT: Limit.THROTTLE})
    assert limits.refusal(PROJECT) == 429
    limits.take({})
    assert (limits.is_any, limits.refusal(PROJECT)) == (False, None)


def test_a_throttled_project_comes_back_in_seconds_whatever_it_has_sent(monkeypatch):
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limits = Limits(1_000)
    limits.take({PROJECT: Limit.THROTTLE})
    for _ in range(40):
        limits.spend(PROJECT, 25_000_000)
    assert limits.refusal(PROJECT) == 429
    now += MAX_DEBT_S + 1
    assert limits.refusal(PROJECT) is None


def test_answers_that_go_on_take_turns_at_what_a_throttled_project_may_send():
    limits = Limits(100_000)
    limits.take({PROJECT: Limit.THROTTLE})
    limits.spend(PROJECT, 101_000)

    async def go_on() -> int | None:
        await limits.turn(PROJECT)
        before = limits.refusal(PROJECT)
        limits.spend(PROJECT, 5_000)
        return before

    async def all_at_once() -> list[int | None]:
        return await asyncio.gather(*(go_on() for _ in range(5)))

    assert asyncio.run(all_at_once()) == [None] * 5
    assert limits.refusal(PROJECT) == 429


def test_answers_of_a_project_that_is_throttled_no_more_go_on_at_once():
    limits = Limits(1)
    limits.take({PROJECT: Limit.THROTTLE})
    limits.spend(PROJECT, 1_000_000)
    limits.take({})
    asyncio.run(limits.turn(PROJECT))
