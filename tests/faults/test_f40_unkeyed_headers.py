"""40. Unkeyed-header sweep → the next clean fetch is not poisoned: not by us, and not by an nginx that caches us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from autostack.settings import load_settings
from autostack.sites.rules.compile import compile_rules
from autostack.sites.store import open_store
from tests.nginx import caching_nginx
from tests.peers.origin import MEMBERS, serve_origin
from tests.sites import Proxy, publish, running_proxy

SCRIPT = "/assets/app-BqX3zK1d.js"
FILES = {"/index.html": b"<h1>home</h1>" * 50, "/about.html": b"about", SCRIPT: b"let a = 1;" * 100}
EVIL = "evil.example.com"
HEADERS = [
    {"X_Forwarded_Host": EVIL},
    {"X_Host": EVIL},
    {"Forwarded": f"host={EVIL};proto=http"},
    {"X_Forwarded_Proto": "http"},
    {"X_Forwarded_Scheme": "http"},
    {"X_Forwarded_Port": "1"},
    {"X_Forwarded_Prefix": "/evil"},
    {"X_Forwarded_For": "6.6.6.6"},
    {"X_Original_URL": "/evil"},
    {"X_Rewrite_URL": "/evil"},
    {"X_HTTP_Method_Override": "POST"},
    {"X_HTTP_Method": "HEAD"},
    {"Origin": f"https://{EVIL}"},
    {"Referer": f"https://{EVIL}/"},
    {"Cookie": "evil=1"},
    {"Authorization": "Basic ZXZpbDpldmls"},
    {"User_Agent": "evil"},
    {"Accept_Language": "xx"},
    {"Accept_Charset": "utf-7"},
    {"Accept_Encoding": "br"},
    {"Accept_Encoding": "zstd;q=1, identity;q=0"},
    {"Accept": "application/json"},
    {"Accept": "text/html;q=0"},
    {"Range": "bytes=0-0"},
    {"Range": "bytes=9999999-"},
    {"If_None_Match": "*"},
    {"If_Match": '"evil"'},
    {"If_Modified_Since": "Sat, 21 Nov 2099 00:00:00 GMT"},
    {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings, close"},
    {"Via": "1.1 evil"},
    {"Cache_Control": "no-transform"},
    {"Pragma": "no-cache"},
    {"TE": "trailers"},
    {"Purpose": "prefetch"},
    {"X_Oversized": "x" * 8_000},
]
# For members only, by another server that lets everybody keep it.
REWRITE = "/area {origin}/cacheable 200 Cookie=member"
TARGETS = [SCRIPT, "/", "/about.html", "/about", "/users/1", "/missing.js"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("f40")
    url = f"file://{folder}/store"
    with serve_origin() as origin:
        rules = compile_rules({"_redirects": REWRITE.format(origin=origin.url)}).rules
        publish(open_store(load_settings(storage_url=url)), "site", FILES, encodings=("br", "zstd"), rules=rules)
        environment = {"STORAGE_URL": url, "ROUTE_TTL": 60_000, "REWRITE_HOSTS_ALLOWED": "127.0.0.1"}
        with running_proxy(folder, environment) as running:
            yield running


@pytest.fixture(scope="module")
def cached(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    with caching_nginx(folder, proxy.port) as port:
        yield replace(proxy, port=port)


def clean(proxy: Proxy, target: str) -> tuple[int, dict[str, str], bytes]:
    answer = proxy.get(target)
    kept = {name: value for name, value in answer.headers.items() if name not in ("date", "x-cache", "server")}
    return answer.status, kept, answer.body


@pytest.mark.parametrize("target", TARGETS)
def test_f40_what_one_visitor_sends_changes_nothing_for_the_next(proxy, target):
    expected = clean(proxy, target)
    for number, headers in enumerate(HEADERS):
        # As with a cold memory: nobody asked for this address before.
        asked = f"{target}?{number}" if target != "/users/1" else f"/users/{number}"
        answer = proxy.get(asked, **headers)
        assert EVIL.encode() not in answer.body
        assert EVIL not in str(answer.headers)
        status, kept, body = clean(proxy, asked)
        assert (status, body) == (expected[0], expected[2])
        assert {name: value for name, value in kept.items() if name != "location"} == {
            name: value for name, value in expected[1].items() if name != "location"
        }


def test_f40_a_cache_in_front_keeps_nothing_that_is_for_one_visitor(proxy, cached):
    expected = clean(proxy, SCRIPT)
    for number, headers in enumerate(HEADERS):
        asked = f"{SCRIPT}?{number}"
        assert EVIL.encode() not in cached.get(asked, **headers).body
        assert clean(cached, asked)[::2] == expected[::2]
        assert cached.get(asked).headers["x-cache"] == "HIT"


def test_f40_a_cache_in_front_gives_another_servers_answer_to_nobody_whom_the_rule_does_not_mean(cached):
    assert cached.get("/area", Cookie="member=1").body == MEMBERS
    assert b"home" in cached.get("/area").body
    assert cached.get("/area", Cookie="member=1").body == MEMBERS
