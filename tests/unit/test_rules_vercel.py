"""vercel.json's redirects, rewrites and headers, as tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autostack.sites.rules.compile import Compiled, compile_rules
from autostack.sites.rules.match import Matcher, Visit, merged
from autostack.sites.rules.targets import location, with_query


def compiled(**tables: Any) -> Compiled:
    return compile_rules({"vercel.json": json.dumps(tables)})


def follow(source: str, destination: str, target: str, **more: Any) -> str | None:
    """Return the location that a redirect leads to, None where it does not match."""
    made = compiled(redirects=[{"source": source, "destination": destination, **more}])
    assert made.notes == []
    path, _, query = target.partition("?")
    visit = Visit(path, "site.example", query.encode(), {b"cookie": b"k=v", b"x-a": b"b"})
    for match in Matcher(made.rules).matches(visit, forced=True):
        return with_query(location(match.rule.target, match.captures), visit.query)
    return None


@pytest.mark.parametrize(
    "source, destination, target, answer",
    [
        ("/a", "/b", "/a", "/b"),
        ("/a", "/b", "/a/", "/b"),
        ("/a", "/b", "/A", None),
        ("/a", "/b", "/a?x=1", "/b?x=1"),
        ("/", "/b", "/", "/b"),
        ("/blog/:slug", "/news/:slug", "/blog/x", "/news/x"),
        ("/blog/:slug", "/news/:slug", "/blog/x/y", None),
        ("/blog/:slug", "/news", "/blog/x", "/news"),
        ("/blog/:path*", "/news/:path*", "/blog/a/b", "/news/a/b"),
        ("/blog/:path*", "/news/:path*", "/blog", "/news/"),
        ("/blog/:path*", "/news", "/blog/a/b", "/news"),
        ("/blog/:path*", "/news", "/blogs", None),
        ("/blog/:path+", "/news/:path", "/blog/a/b", "/news/a/b"),
        ("/blog/:path+", "/news/:path", "/blog", None),
        ("/blog/:slug?", "/news/:slug", "/blog", "/news/"),
        ("/blog/(.*)", "/news/$1", "/blog/a/b", "/news/a/b"),
        ("/blog/(.*)", "/news", "/blogs", None),
        ("/(.*)", "https://e.org/$1", "/a/b", "https://e.org/a/b"),
        ("/(.*)", "https://e.org/$1", "/", "https://e.org/"),
        ("/:lang(en|de)/:rest*", "/:rest*?lang=:lang", "/de/a/b", "/a/b?lang=de"),
        ("/:lang(en|de)/:rest*", "/:rest*?lang=:lang", "/fr/a", None),
        ("/post/:id(\\d+)", "/p?id=:id", "/post/12", "/p?id=12"),
        ("/post/:id(\\d+)", "/p?id=:id", "/post/x", None),
        ("/:slug.html", "/:slug", "/a.html", "/a"),
        ("/a-:x-:y", "/:y/:x", "/a-1-2", "/2/1"),
        ("/a\\(b\\)", "/b", "/a(b)", "/b"),
        ("/%C3%BCber/:x", "/about/:x", "/über/a", "/about/a"),
        ("/a%28b%29/:x", "/:x", "/a(b)/c", "/c"),
        ("/((?!api/|_next).*)", "/app/$1", "/x/y", "/app/x/y"),
        ("/((?!api/|_next).*)", "/app/$1", "/api/y", None),
        ("/((?!api/|_next).*)", "/app/$1", "/_nextx", None),
        ("/((?!api/|_next).*)", "/app", "/apis", "/app"),
        ("/a%20b", "/b", "/a b", "/b"),
    ],
)
def test_a_source_is_matched_as_path_to_regexp_does(source, destination, target, answer):
    assert follow(source, destination, target) == answer


@pytest.mark.parametrize(
    "more, answers",
    [
        ({"has": [{"type": "query", "key": "x", "value": "1"}]}, True),
        ({"has": [{"type": "query", "key": "x", "value": "2"}]}, False),
        ({"has": [{"type": "query", "key": "x"}]}, True),
        ({"missing": [{"type": "query", "key": "x"}]}, False),
        ({"missing": [{"type": "query", "key": "y"}]}, True),
        ({"has": [{"type": "cookie", "key": "k", "value": "v"}]}, True),
        ({"has": [{"type": "cookie", "key": "k", "value": "w"}]}, False),
        ({"missing": [{"type": "cookie", "key": "k", "value": "w"}]}, True),
        ({"has": [{"type": "header", "key": "X-A", "value": "b"}]}, True),
        ({"has": [{"type": "header", "key": "X-B"}]}, False),
        ({"has": [{"type": "host", "value": "site.example"}]}, True),
        ({"has": [{"type": "host", "value": "other.example"}]}, False),
    ],
)
def test_has_and_missing_are_conditions(more, answers):
    assert (follow("/a", "/b", "/a?x=1", **more) is not None) is answers


def test_redirects_go_before_files_and_rewrites_after_them():
    made = compiled(
        redirects=[
            {"source": "/a", "destination": "/b"},
            {"source": "/c", "destination": "/d", "permanent": False},
            {"source": "/e", "destination": "/f", "statusCode": 301},
        ],
        rewrites=[{"source": "/(.*)", "destination": "/index.html"}],
        cleanUrls=True,
        trailingSlash=False,
    )
    assert [(rule.status, rule.forced) for rule in made.rules.redirects] == [
        (308, True),
        (307, True),
        (301, True),
        (200, False),
    ]
    assert (made.rules.clean_urls, made.rules.trailing_slash) == (True, False)


@pytest.mark.parametrize(
    "source, path, matches",
    [
        ("/(.*)", "/a/b", True),
        ("/assets/:path*", "/assets/a/b", True),
        ("/assets/:path*", "/other", False),
        ("/:path*.js", "/a.js", True),
        ("/assets/:path*", "/assets", True),
        ("/assets/:path*", "/Assets/a", False),
        ("/Assets/:path*", "/Assets/a/B", True),
        ("/service-worker.js", "/service-worker.js", True),
        ("/service-worker.js", "/Service-Worker.js", False),
        ("/%C3%9Cber", "/Über/", True),
        ("/%C3%9Cber", "/über", False),
        ("/(\\D+)", "/abc", True),
        ("/(\\D+)", "/123", False),
    ],
)
def test_headers_are_set_for_a_source(source, path, matches):
    made = compiled(headers=[{"source": source, "headers": [{"key": "X-A", "value": "b"}]}])
    assert made.notes == []
    assert merged(Matcher(made.rules).blocks(Visit(path))) == ({"X-A": ("b",)} if matches else {})


@pytest.mark.parametrize(
    "tables, why",
    [
        ({"redirects": 1}, "vercel.json: redirects: it should be a list"),
        ({"redirects": [1]}, "vercel.json: redirects 1: an entry is an object"),
        ({"redirects": [{"source": "/a"}]}, "vercel.json: redirects 1: `destination` is a text"),
        ({"redirects": [{"source": "a", "destination": "/b"}]}, "a source begins with /"),
        ({"redirects": [{"source": "/a", "destination": "b"}]}, "a target begins with /"),
        ({"redirects": [{"source": "/a", "destination": "/b", "statusCode": 200}]}, "status 200"),
        ({"redirects": [{"source": "/a", "destination": "/b", "statusCode": [301]}]}, "not supported"),
        ({"redirects": [{"source": "/\ud800", "destination": "/b"}]}, "cannot be read"),
        ({"rewrites": [{"source": "/a", "destination": "/b", "has": [{"type": ["host"]}]}]}, "has the type"),
        (
            {"rewrites": [{"source": "/a", "destination": "/b", "has": [{"type": "header", "key": "X-A\r\nX-B: c"}]}]},
            "no name of a header",
        ),
        ({"rewrites": [{"source": "/(a", "destination": "/b"}]}, "not closed"),
        ({"rewrites": [{"source": "/a+", "destination": "/b"}]}, "only after"),
        ({"rewrites": [{"source": "/a\\", "destination": "/b"}]}, "backslash"),
        ({"rewrites": [{"source": "/(a(b))", "destination": "/$1"}]}, "does not capture"),
        ({"rewrites": [{"source": "/(a(?=b))", "destination": "/$1"}]}, "linear time"),
        ({"rewrites": [{"source": "/:a/((?!b).*)", "destination": "/$1"}]}, "only stand once"),
        ({"rewrites": [{"source": "/((?!b)", "destination": "/$1"}]}, "not closed"),
        ({"rewrites": [{"source": "/a", "destination": "/b", "has": 1}]}, "`has` is a list"),
        ({"rewrites": [{"source": "/a", "destination": "/b", "has": [{"type": "ip"}]}]}, "has the type"),
        ({"rewrites": [{"source": "/a", "destination": "/b", "has": [{"type": "host"}]}]}, "has a `key`"),
        (
            {
                "rewrites": [
                    {"source": "/a", "destination": "/b", "has": [{"type": "query", "key": "x", "value": "(.*)"}]}
                ]
            },
            "plain text",
        ),
        ({"headers": [{"source": "/a", "headers": 1}]}, "`headers` is a list"),
        ({"headers": [{"source": "/a", "headers": [{"key": "Date", "value": "x"}]}]}, "cannot be set"),
        ({"routes": [{"src": "/a", "dest": "/b"}]}, "`routes` is not supported"),
        ({"cleanUrls": "yes"}, "`cleanUrls` is true or false"),
    ],
)
def test_what_is_wrong_is_reported_and_left_out(tables, why):
    made = compiled(**tables)
    assert made.rules.redirects == ()
    assert made.rules.headers == ()
    (note,) = made.notes
    assert note.startswith("vercel.json: ")
    assert why in note


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_what_is_no_json_object_is_reported(text):
    (note,) = compile_rules({"vercel.json": text}).notes
    assert note.startswith("vercel.json: it ")
