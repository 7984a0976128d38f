"""Sites with a password: the form and its cookie, HTTP Basic for programs, tickets for owners, and nothing without."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import bcrypt
import pytest
from redis import Redis

from autostack.sites import tickets
from autostack.sites.announce import announce
from autostack.sites.routes import Protection, Route, write_route
from autostack.sites.rules.compile import compile_rules
from autostack.sites.store import Store
from tests.services import running_valkey
from tests.sites import Answer, Proxy, awaited, publish, read_all, running_proxy

PASSWORD = "correct horse battery"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
PROTECTION = Protection(HASH, "first-password")
OWNERS_HEADERS = """/*
  Cache-Control: public, max-age=600
  CDN-Cache-Control: max-age=600
  X-Frame-Options: ALLOWALL
  X-Own: kept
"""
FILES = {"/index.html": b"secret", "/a.txt": b"secret too", "/404.html": b"also secret"}
HOST = "closed.localhost"


def protect(store: Store, label: str, protection: Protection | None = PROTECTION, **site: object) -> Route:
    """Publish a site and have it ask for the password."""
    route = replace(publish(store, label, FILES, **site), generation=2, protection=protection)  # type: ignore[arg-type]
    assert write_route(store, route)
    return route


def form_of(password: str, host: str, path: str = "/a.txt", *more: str) -> tuple[bytes, bytes]:
    """Return the head and the body of a request with the form; `more` are headers of it."""
    form = f"password={quote(password)}&next={quote(path, safe='')}"
    lines = ["POST /.autostack/unlock HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(form)}"]
    return "\r\n".join((*lines, *more, "", "")).encode(), form.encode()


def send_form(proxy: Proxy, password: str, host: str = HOST, path: str = "/a.txt") -> Answer:
    return Answer.parse(proxy.raw(b"".join(form_of(password, host, path))))


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


def entrance(redis: Redis, host: str) -> str:
    """Return where an owner comes in, by a ticket of his own."""
    return f"/.autostack/enter?ticket={tickets.issue(redis, host, PROTECTION.key_id)}&next=%2Fa.txt"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="module")
def proxy(folder: Path, environment: dict[str, object], store: Store, redis_server: str) -> Iterator[Proxy]:
    with running_proxy(folder, {**environment, "REDIS_URL": redis_server}) as running:
        yield running


@pytest.fixture
def closed(store: Store) -> str:
    """The host of a protected site that no other test has asked."""
    label = f"closed-{uuid.uuid4().hex[:20]}"
    protect(store, label)
    return f"{label}.localhost"


def test_nothing_is_shown_without_the_password(proxy, closed):
    for path in ("/", "/a.txt", "/nothing", "/%2Eautostack/unlock"):
        answer = proxy.get(path, host=closed, Accept="text/html")
        assert (answer.status, b"secret" in answer.body) == (401, False)
        assert answer.headers["cache-control"] == "no-store"
    form = proxy.get("/a.txt?x=1", host=closed, Accept="text/html")
    assert b'name="next" value="/a.txt?x=1"' in form.body
    assert form.headers["www-authenticate"].startswith("Form "), "or a browser shows a window of its own"
    assert proxy.get("/a.txt", host=closed, method="HEAD").body == b""


def test_who_knows_the_password_gets_a_cookie_for_this_host_and_what_he_asked_for(proxy, closed):
    answer = send_form(proxy, PASSWORD, closed)
    assert (answer.status, answer.headers["location"]) == (303, "/a.txt")
    assert answer.headers["set-cookie"].endswith("; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax")
    seen = proxy.get("/a.txt", host=closed, Cookie=f"a=b; {cookie_of(answer)}; c=d")
    assert (seen.status, seen.body) == (200, b"secret too")
    assert seen.headers["cache-control"] == "private, no-store"
    assert (seen.headers["x-frame-options"], "frame-ancestors 'self'" in seen.headers["content-security-policy"]) == (
        "SAMEORIGIN",
        True,
    )
    assert proxy.get("/a.txt", host=closed).status == 401, "and nobody else"


def test_hashing_that_takes_longer_than_the_store_may_is_waited_for(proxy, store):
    slow = Protection(bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(15)).decode(), "slow-password")
    protect(store, "slow", slow)
    assert send_form(proxy, PASSWORD, "slow.localhost").status == 303
    assert proxy.get("/a.txt", host="slow.localhost", Authorization=basic(PASSWORD)).body == b"secret too"


def test_a_wrong_password_is_said_to_be_one(proxy, closed):
    for password in ("wrong", "", "x" * 73, "null\0byte"):
        answer = send_form(proxy, password, closed)
        assert (answer.status, "set-cookie" in answer.headers) == (401, False)
        assert b"That is not the password." in answer.body


def test_a_cookie_is_good_for_one_host_one_password_and_as_long_as_it_says(proxy, store, closed):
    cookie = cookie_of(send_form(proxy, PASSWORD, closed))
    protect(store, "neighbour")
    assert proxy.get("/", host="neighbour.localhost", Cookie=cookie).status == 401
    name, _, value = cookie.partition("=")
    expires_at, _, signature = value.partition(".")
    for forged in (f"{int(expires_at) + 1}.{signature}", f"1.{signature}", f"{expires_at}.{'A' * 43}", "", "1.ä"):
        assert proxy.get("/", host=closed, Cookie=f"{name}={forged}").status == 401
    assert proxy.get("/", host=closed, Cookie=f"{name}=tossed; {cookie}").status == 200


def test_a_new_password_ends_what_the_last_one_opened(proxy, store, redis_server):
    route = protect(store, "changing")
    cookie = cookie_of(send_form(proxy, PASSWORD, "changing.localhost"))
    assert proxy.get("/", host="changing.localhost", Cookie=cookie).status == 200
    write_route(store, replace(route, generation=3, protection=Protection(HASH, "second-password")))
    # A proxy that hears of new routes does not look for them.
    announce(Redis.from_url(redis_server), {"changing": 3}, timeout_s=1)
    awaited(lambda: proxy.get("/", host="changing.localhost", Cookie=cookie).status == 401)


def test_a_program_sends_the_password_with_each_request(proxy, closed):
    asked = proxy.get("/a.txt", host=closed, Accept="*/*")
    assert (asked.status, asked.headers["www-authenticate"]) == (401, 'Basic realm="site", charset="UTF-8"')
    for _ in range(10):
        assert proxy.get("/a.txt", host=closed, Authorization=basic(PASSWORD)).body == b"secret too"
    for wrong in (basic("wrong"), "Basic %%%", "Basic", "Bearer " + PASSWORD):
        assert proxy.get("/a.txt", host=closed, Authorization=wrong).status == 401


def test_guessing_is_slowed_down_for_one_site_and_no_other(proxy, store, closed):
    statuses = [send_form(proxy, f"guess {number}", closed).status for number in range(15)]
    assert statuses[0] == 401
    assert 429 in statuses
    protect(store, "quiet")
    assert send_form(proxy, PASSWORD, "quiet.localhost").status == 303


@pytest.mark.parametrize("path", ["https://evil.example/", "//evil.example", "/\\evil.example", "/a\r\nX: y", "", "x"])
def test_the_form_leads_nowhere_else(proxy, closed, path):
    assert send_form(proxy, PASSWORD, closed, path).headers["location"] == "/"


def test_an_owner_comes_in_once_by_a_ticket(proxy, redis_server, closed):
    redis = Redis.from_url(redis_server)
    # On a busy machine a proxy may not have connected to Redis in time when the first one comes.
    for _ in range(10):
        target = entrance(redis, closed)
        assert "set-cookie" not in proxy.get(target, host="other.localhost").headers
        answer = proxy.get(target, host=closed)
        if "set-cookie" in answer.headers:
            break
    assert (answer.status, answer.headers["location"]) == (303, "/a.txt")
    assert proxy.get("/a.txt", host=closed, Cookie=cookie_of(answer)).body == b"secret too"
    assert "set-cookie" not in proxy.get(target, host=closed).headers, "it is used up"
    for other in (
        tickets.issue(redis, "elsewhere.localhost", PROTECTION.key_id),
        tickets.issue(redis, closed, "old"),
        "",
    ):
        answer = proxy.get(f"/.autostack/enter?ticket={other}", host=closed)
        assert (answer.status, "set-cookie" in answer.headers) == (303, False)


def test_made_up_tickets_are_limited_and_share_few_connections(folder, environment, redis_server, closed):
    redis = Redis.from_url(redis_server)

    def calls():
        return redis.info("commandstats").get("cmdstat_getdel", {"calls": 0})["calls"]

    with running_proxy(folder, {**environment, "REDIS_URL": redis_server}) as other:
        awaited(lambda: "set-cookie" in other.get(entrance(redis, closed), host=closed).headers)
        before, connections = calls(), redis.info()["total_connections_received"]
        while calls() - before < 10:
            other.get(f"/.autostack/enter?ticket={secrets.token_urlsafe(32)}", host=closed)
        # The proxies may connect anew for what else they ask Redis.
        assert redis.info()["total_connections_received"] - connections < 10
        known = -1
        while known != (known := calls()):
            other.get(f"/.autostack/enter?ticket={secrets.token_urlsafe(32)}", host=closed)


def test_without_redis_only_the_ticket_is_refused(folder, environment, proxy, closed):
    with running_proxy(folder, environment) as other:
        answer = other.get(f"/.autostack/enter?ticket={'a' * 43}&next=/a.txt", host=closed)
        assert (answer.status, "set-cookie" in answer.headers) == (303, False)
        assert send_form(other, PASSWORD, closed).status == 303


def test_what_the_owner_lets_caches_keep_is_not_kept_of_a_protected_site(proxy, store):
    rules = compile_rules({"_headers": OWNERS_HEADERS}).rules
    protect(store, "ruled", rules=rules)
    for path, status in (("/", 200), ("/nothing", 404), ("/index.html", 308)):
        answer = proxy.get(path, host="ruled.localhost", Authorization=basic(PASSWORD))
        assert (answer.status, answer.headers["x-own"]) == (status, "kept")
        assert answer.headers["cache-control"] == "private, no-store"
        assert "cdn-cache-control" not in answer.headers
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("POST / HTTP/1.1", "Content-Length: 0", 405),
        ("POST /.autostack/unlockx HTTP/1.1", "Content-Length: 0", 405),
        ("PUT /.autostack/unlock HTTP/1.1", "Content-Length: 0", 405),
        ("GET /.autostack/unlock HTTP/1.1", "Content-Length: 1", 400),
        ("POST /.autostack/unlock HTTP/1.1", "Transfer-Encoding: chunked", 400),
        ("POST /.autostack/unlock HTTP/1.1", "Content-Length: 4097", 413),
        ("POST /.autostack/unlock HTTP/1.1", "Content-Length: 9\r\nContent-Length: 0", 400),
        ("POST /.autostack/unlock HTTP/1.1", "Content-Length: 4097\r\nExpect: 100-continue", 413),
        ("POST /.autostack/unlock HTTP/1.1", "Content-Length: 9\r\nExpect: tea", 417),
    ],
)
def test_only_the_form_may_be_posted_and_a_short_one(proxy, closed, line, headers, status):
    answer = Answer.parse(proxy.raw(f"{line}\r\nHost: {closed}\r\n{headers}\r\n\r\n".encode()))
    assert (answer.status, answer.headers["connection"]) == (status, "close")


def test_a_form_that_does_not_arrive_is_not_waited_for(impatient, closed):
    head = f"POST /.autostack/unlock HTTP/1.1\r\nHost: {closed}\r\nContent-Length: 30\r\n\r\npass"
    assert Answer.parse(impatient.raw(head.encode())).status == 408


GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_who_waits_with_his_form_is_told_to_go_on(proxy, closed):
    head, form = form_of(PASSWORD, closed, "/a.txt", "Expect: 100-continue")
    with proxy.connect() as connection:
        connection.sendall(head)
        assert connection.recv(1000) == GO_ON
        connection.sendall(form)
        answer = Answer.parse(read_all(connection))
    assert (answer.status, answer.headers["location"]) == (303, "/a.txt")


def test_who_waits_with_his_form_hears_first_what_he_asked_for_before(proxy, closed):
    head, form = form_of(PASSWORD, closed, "/a.txt", "Expect: 100-continue")
    # Not at hand: the site asks for a password.
    before = f"GET /a.txt HTTP/1.1\r\nHost: {closed}\r\n\r\n".encode()
    with proxy.connect() as connection:
        connection.sendall(before + head)
        received = b""
        while not received.endswith(GO_ON):
            received += connection.recv(10_000)
        assert (Answer.parse(received).status, received.count(b"HTTP/1.1 ")) == (401, 2)
        connection.sendall(form)
        assert Answer.parse(read_all(connection)).status == 303


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_who_sends_his_form_at_once_is_not_told_to_go_on(proxy, closed, version):
    head, form = form_of(PASSWORD, closed, "/a.txt", "Expect: 100-continue")
    head = head.replace(b"HTTP/1.1", version)
    assert Answer.parse(proxy.raw(head + form)).status == 303


def test_a_site_without_a_password_has_no_form(proxy):
    assert send_form(proxy, PASSWORD, "site.localhost").status == 404
    assert proxy.get("/.autostack/enter?ticket=x").status == 404
