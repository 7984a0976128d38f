"""Rules of a site through the real proxy: redirects, rewrites, headers, and requests passed on to another server."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import bcrypt
import pytest

from autostack.sites.routes import Protection, read_route, write_route
from autostack.sites.rules.compile import compile_rules
from autostack.sites.rules.model import Pattern, Rule, Rules
from autostack.sites.store import Store
from tests.integration.proxy.conftest import HOP
from tests.integration.proxy.messages import read_answers, request
from tests.peers.origin import LARGE, Origin, serve_origin
from tests.sites import Answer, Proxy, publish

REDIRECTS = """
/old/*            /new/:splat
/forced           /new 302!
/asked id=:id     /post/:id
/home             /de 302 Language=de
/home             /at 302 Country=at
/home             /beta 200 Cookie=beta
/gone             /gone-page 410
/near/*           {origin}/cacheable 200 Country=at
/member/*         {origin}/cacheable 200 Cookie=member
/api/*            {origin}/:splat 200
/via-name/*       http://localhost:{port}/:splat 200
/nowhere/*        http://127.0.0.1:1/:splat 200
/unknown/*        http://does-not-exist.invalid/ 200
/*                /index.html 200
"""
HEADERS = """
/*
  X-Frame-Options: DENY
/assets/*
  Access-Control-Allow-Origin: *
  ! Referrer-Policy
"""
FILES = {
    "/index.html": b"app",
    "/forced.html": b"file",
    "/beta.html": b"beta",
    "/gone-page.html": b"it is gone",
    "/assets/app.js": b"js",
}
HOST = "ruled.localhost"
KEPT_ALIVE = (b"Host: ruled.localhost", b"Connection: keep-alive")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with serve_origin() as running:
        yield running


@pytest.fixture(scope="module")
def site(proxy: Proxy, store: Store, origin: Origin) -> Proxy:
    text = REDIRECTS.format(origin=origin.url, port=origin.port)
    compiled = compile_rules({"_redirects": text, "_headers": HEADERS}, "X-Country")
    assert compiled.notes == []

    publish(store, "ruled", FILES, rules=compiled.rules, encodings=("br",))
    return proxy


@pytest.fixture
def behind_a_hop(site: Proxy) -> Proxy:
    """Visitors who come by way of a proxy in front of this one."""
    return replace(site, source=HOP)


def test_a_redirect_keeps_the_query_and_is_made_for_each_request_anew(site):
    for query in ("", "?a=1", "?a=2"):
        answer = site.get(f"/old/x%20y{query}", host=HOST)
        assert (answer.status, answer.headers["location"]) == (301, f"/new/x%20y{query}")
    assert answer.headers["cache-control"] == "public, max-age=0, must-revalidate"


def test_a_rule_with_a_mark_goes_before_a_file(site):
    assert site.get("/forced", host=HOST).headers["location"] == "/new"


def test_a_query_is_captured(site):
    assert site.get("/asked?id=7", host=HOST).headers["location"] == "/post/7?id=7"
    assert site.get("/asked", host=HOST).body == b"app"
    assert site.get("/asked?id=8", host=HOST).headers["location"] == "/post/8?id=8"


def test_language_country_and_cookie_decide_for_each_visitor(site, behind_a_hop):
    for _ in range(2):
        assert site.get("/home", host=HOST).body == b"app"
        german = site.get("/home", host=HOST, Accept_Language="de-DE,en;q=0.5")
        assert (german.status, german.headers["location"]) == (302, "/de")
        assert german.headers["vary"] == "Accept-Language"
        assert behind_a_hop.get("/home", host=HOST, X_Country="AT").headers["location"] == "/at"
        beta = site.get("/home", host=HOST, Cookie="x=1; beta=1")
        assert (beta.status, beta.body) == (200, b"beta")
        assert beta.headers["vary"] == "Accept-Encoding, Accept-Language, Cookie, X-Country"


def test_a_file_may_be_served_as_gone(site):
    answer = site.get("/gone", host=HOST)
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (410, b"it is gone", "no-store")


def test_a_page_never_answers_for_a_missing_script(site):
    assert site.get("/users/7", host=HOST).body == b"app"
    assert site.get("/assets/gone.js", host=HOST).status == 404


def test_an_owners_headers_are_on_every_answer_of_the_site(site):
    answer = site.get("/assets/app.js", host=HOST)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "referrer-policy" not in answer.headers
    assert site.get("/", host=HOST).headers["referrer-policy"] == "strict-origin-when-cross-origin"
    etag = site.get("/", host=HOST).headers["etag"]
    for headers in ({}, {"If_None_Match": etag}, {"Range": "bytes=0-0"}):
        assert site.get("/", host=HOST, **headers).headers["x-frame-options"] == "DENY"
    assert site.get("/old/x", host=HOST).headers["x-frame-options"] == "DENY"


def test_a_request_is_passed_on_with_what_the_visitor_said(site):
    cookie = "a=1; __Host-autostack-site=2; b=3"
    answer = site.get(
        "/api/users?page=2", host=HOST, Accept="application/json", Cookie=cookie, X_Forwarded_For="9.9.9.9"
    )
    asked = json.loads(answer.body)
    assert asked["path"] == "/users?page=2"
    assert asked["headers"]["accept"] == "application/json"
    assert asked["headers"]["cookie"] == "a=1; b=3"
    assert asked["headers"]["x-forwarded-host"] == HOST
    assert asked["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert asked["headers"]["host"].startswith("127.0.0.1:")
    assert answer.headers["x-origin"] == "yes"
    assert answer.headers["via"] == "1.1 autostack"
    assert "x-frame-options" not in answer.headers, "headers of the site are not for what others answer"


def test_what_is_between_two_neighbours_is_not_passed_on(site):
    answer = site.get("/api/x", host=HOST, Connection="X-Secret", X_Secret="1", TE="trailers", Proxy_Authorization="x")
    asked = json.loads(answer.body)["headers"]
    assert {"x-secret", "te", "proxy-authorization"}.isdisjoint(asked)


def test_cookies_of_another_server_are_the_sites_own(site):
    raw = site.raw(request(b"GET /api/cookies HTTP/1.1", b"Host: ruled.localhost", b"Connection: close", b""))
    assert raw.count(b"et-Cookie: ") == 2
    assert b"a=1; Path=/\r\n" in raw
    assert b"Domain" not in raw
    assert b"Strict-Transport-Security" not in raw


def test_nobody_makes_up_the_country_that_he_comes_from(site, behind_a_hop):
    for _ in range(2):
        assert behind_a_hop.get("/home", host=HOST, X_Country="AT").headers["location"] == "/at"
        stranger = site.get("/home", host=HOST, X_Country="AT")
        assert (stranger.status, stranger.body, stranger.headers["vary"]) == (
            200,
            b"app",
            "Accept-Encoding, Accept-Language, Cookie, X-Country",
        )


def test_another_servers_answer_varies_with_what_the_rules_looked_at_too(site, behind_a_hop):
    near = behind_a_hop.get("/near/x", host=HOST, X_Country="AT")
    assert near.headers["cache-control"] == "max-age=60"
    assert near.headers["vary"] == "Accept, cookie, X-Country"
    assert site.get("/near/x", host=HOST).headers["vary"] == "Accept-Encoding, X-Country"
    assert site.get("/member/x", host=HOST, Cookie="member=1").headers["vary"] == "Accept, cookie"
    assert site.get("/api/cacheable", host=HOST).headers["vary"] == "Accept, cookie"
    assert "vary" not in site.get("/api/missing", host=HOST).headers


@pytest.mark.parametrize(
    "target, status, body",
    [("/api/missing", 404, b"no such thing"), ("/api/redirect", 302, b""), ("/api/odd", 299, b"odd")],
)
def test_whatever_it_answers_is_the_answer(site, target, status, body):
    answer = site.get(target, host=HOST)
    assert (answer.status, answer.body) == (status, body)


def test_an_answer_without_content_says_nothing_of_its_length(site):
    get = request(b"GET /api/nothing HTTP/1.1", b"Host: ruled.localhost", b"")
    with site.connect() as connection:
        connection.sendall(get + get)
        answers = read_answers(connection, 2)
    assert [answer.status for answer in answers] == [204, 204]
    assert all("content-length" not in answer.headers for answer in answers)


def test_a_large_answer_is_streamed(site):
    assert site.get("/api/large", host=HOST).body == LARGE


def test_an_answer_without_a_length_comes_in_chunks_and_the_connection_goes_on(site):
    chunked = request(b"GET /api/chunked HTTP/1.1", b"Host: ruled.localhost", b"")
    last = request(b"GET /api/chunked HTTP/1.1", b"Host: ruled.localhost", b"Connection: close", b"")
    answers = site.raw(chunked + last)
    assert answers.count(b"Transfer-Encoding: chunked\r\n") == 2
    assert answers.count(b"\r\n0\r\n\r\n") == 2
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)) as client:
        for _ in range(2):
            client.request("GET", "/api/chunked", headers={"Host": HOST})
            assert client.getresponse().read() == b"one two three"


def test_an_answer_without_a_length_ends_with_the_connection_for_who_knows_no_chunks(site):
    answer = Answer.parse(site.raw(request(b"GET /api/chunked HTTP/1.0", *KEPT_ALIVE, b"")))
    assert answer.body == b"one two three"
    assert answer.headers["connection"] == "close"
    assert "transfer-encoding" not in answer.headers


def test_an_answer_without_a_length_that_breaks_off_is_never_taken_for_complete(site):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)) as client:
        client.request("GET", "/api/chunked-cut", headers={"Host": HOST})
        with pytest.raises(http.client.IncompleteRead):
            client.getresponse().read()
    with site.connect() as connection:
        connection.sendall(request(b"GET /api/chunked-cut HTTP/1.0", *KEPT_ALIVE, b""))
        with pytest.raises(ConnectionResetError):
            b"".join(iter(lambda: connection.recv(65536), b""))


def test_head_asks_for_the_head_only(site):
    answer = site.get("/api/large", host=HOST, method="HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, str(len(LARGE)), b"")


def test_the_connection_goes_on_after_an_answer_of_another_server(site):
    get = request(b"GET /api/missing HTTP/1.1", b"Host: ruled.localhost", b"")
    with site.connect() as connection:
        connection.sendall(get + request(b"GET /x HTTP/1.1", b"Host: ruled.localhost", b"") + get)
        assert [answer.status for answer in read_answers(connection, 3)] == [404, 200, 404]


@pytest.mark.parametrize(
    "target, status",
    [
        ("/via-name/x", 502),
        ("/nowhere/x", 502),
        ("/unknown/x", 502),
        ("/api/nonsense", 502),
        ("/api/beyond", 502),
        ("/api/huge", 502),
    ],
)
def test_what_cannot_be_reached_is_said(site, target, status):
    answer = site.get(target, host=HOST)
    assert answer.status == status
    assert answer.body.startswith(b"<!doctype html>")


def test_a_private_address_behind_a_name_is_never_asked(site, origin):
    asked = len(origin.asked)
    assert site.get("/via-name/secret", host=HOST).status == 502
    assert len(origin.asked) == asked


def test_the_password_of_a_site_is_not_told_to_another_server(site, store):
    route = read_route(store, "ruled")
    hashed = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
    write_route(store, replace(route, host="locked", protection=Protection(hashed, "key-of-it")))
    basic = f"Basic {base64.b64encode(b'me:open sesame').decode()}"
    answer = site.get("/api/x", host="locked.localhost", Authorization=basic)
    assert "authorization" not in json.loads(answer.body)["headers"]
    assert answer.headers["cache-control"] == "private, no-store"
    assert json.loads(site.get("/api/x", host=HOST, Authorization=basic).body)["headers"]["authorization"] == basic


def test_another_servers_answer_on_a_preview_is_for_no_search_engine(site, store):
    write_route(store, replace(read_route(store, "ruled"), host="ruled-git-main", kind="branch"))
    for target in ("/api/x", "/api/chunked", "/nowhere/x"):
        assert site.get(target, host="ruled-git-main.localhost").headers["x-robots-tag"] == "noindex"
    assert "x-robots-tag" not in site.get("/api/x", host=HOST).headers


def test_a_kept_connection_that_is_closed_as_it_is_used_is_no_fault_of_the_visitors(site):
    assert [site.get("/api/once", host=HOST).body for _ in range(4)] == [b"once"] * 4


def test_a_new_connection_that_is_closed_is_not_tried_again(store, site):
    with serve_origin() as other:
        rules = compile_rules({"_redirects": f"/* {other.url}/:splat 200"}).rules
        publish(store, "closing", {}, rules=rules)
        assert site.get("/never", host="closing.localhost").status == 502
        assert other.asked == ["/never"]


def test_a_request_that_comes_back_to_us_ends(site):
    assert site.get("/api/x", host=HOST, Via="1.1 autostack").status == 508


def test_an_answer_that_breaks_off_is_broken_off(site):
    answer = site.raw(request(b"GET /api/cut HTTP/1.1", b"Host: ruled.localhost", b""))
    assert answer.endswith(b"half")
    assert b"Content-Length: 8" in answer


def test_a_slow_server_holds_up_nobody_else_and_only_so_many_of_a_site_wait(site, origin):
    slow = [site.connect() for _ in range(32)]
    try:
        for connection in slow:
            connection.sendall(request(b"GET /api/slow HTTP/1.1", b"Host: ruled.localhost", b""))
        wait = threading.Event()
        while origin.asked.count("/slow") < 32:
            assert not wait.wait(0.02)
        assert site.get("/", host=HOST).body == b"app"
        assert site.get("/api/x", host=HOST).status == 503
        origin.release.set()
        assert [read_answers(connection, 1)[0].body for connection in slow] == [b"at last"] * 32
        assert site.get("/api/x", host=HOST).status == 200
    finally:
        for connection in slow:
            connection.close()


def test_rules_that_take_too_long_for_a_path_are_given_up_for_that_path_alone(proxy, store):
    # As manifests may have them that were made before the size of expressions was looked at.
    costly = Pattern(("*",), "(?s)^/.*(?:a.{0,900}|b.{0,900})c$")
    rules = Rules((Rule("1", "", costly, ("/index.html",), 200),))
    publish(store, "costly", {"/index.html": b"x"}, rules=rules)
    publish(store, "costly-git-main", {"/index.html": b"x"}, rules=rules, kind="branch")
    assert proxy.get("/", "costly.localhost").body == b"x"
    long = proxy.get("/" + "ab" * 3_000, "costly.localhost")
    assert (long.status, long.headers["cache-control"]) == (500, "no-store")
    assert b"more rules for this address" in long.body
    preview = proxy.get("/" + "ab" * 3_000, "costly-git-main.localhost")
    assert (preview.status, preview.headers["x-robots-tag"]) == (500, "noindex")
    assert "x-robots-tag" not in long.headers
    assert proxy.get("/", "costly.localhost").body == b"x"
