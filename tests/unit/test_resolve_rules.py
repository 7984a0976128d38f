"""Rules among the other things that can answer a path: SERVING.md's order of decisions as tables."""

from __future__ import annotations

import json

import pytest

from autostack.proxy.negotiation import read_accepts
from autostack.proxy.own_headers import Extras
from autostack.proxy.resolve import Nothing, Redirect, Remote, Serve, at_its_address, elsewhere, resolve
from autostack.proxy.respond import IMMUTABLE, NO_STORE, REVALIDATE, prepare
from autostack.sites.rules.compile import compile_rules
from autostack.sites.rules.match import Visit, merged
from tests.sites import make_manifest


def decide(paths: list[str], redirects: str, path: str, takes_html: bool = True, **vercel: object) -> str:
    """Return `status path` of what is served or `status → location`."""
    rules = compile_rules({"_redirects": redirects, "vercel.json": json.dumps(vercel)}).rules
    match resolve(make_manifest(paths, rules=rules), Visit(path, "site.example"), takes_html):
        case Serve(served, _, role):
            return f"{role.status} {served}"
        case Redirect(location, status):
            return f"{status} → {location}"
        case Remote(url):
            return f"← {url}"
        case Nothing(status):
            return f"{status}"


SPA = "/* /index.html 200"


@pytest.mark.parametrize(
    "paths, redirects, path, answer",
    [
        (["/a.html"], "/a /b", "/a", "200 /a.html"),
        (["/a.html"], "/a /b 301!", "/a", "301 → /b"),
        (["/a.html"], "/a /b", "/a/", "308 → /a"),
        (["/a.html"], "/a.html /b 302", "/a.html", "308 → /a"),
        (["/a.html"], "/a.html /b 302!", "/a.html", "302 → /b"),
        (["/b.html"], "/a /b", "/a", "301 → /b"),
        (["/b.html"], "/a /b 200", "/a", "200 /b.html"),
        (["/b.html"], "/a /b/ 200", "/a", "200 /b.html"),
        (["/b/index.html"], "/a /b 200", "/a", "200 /b/index.html"),
        (["/b/index.html"], "/a /b/ 200", "/a", "200 /b/index.html"),
        (["/b/c.js"], "/a/* /b/:splat 200", "/a/c.js", "200 /b/c.js"),
        (["/a.html", "/b.html"], "/a /b 200!", "/a", "200 /b.html"),
        (["/index.html"], SPA, "/users/7", "200 /index.html"),
        (["/index.html", "/404.html"], SPA, "/users/7", "200 /index.html"),
        (["/index.html", "/404.html"], SPA, "/app.1234.js", "404 /404.html"),
        (["/index.html"], SPA, "/.well-known/acme", "404"),
        (["/index.html"], "/.well-known/acme /index.html 301", "/.well-known/acme", "301 → /index.html"),
        (["/.well-known/acme"], "/* /x 301", "/.well-known/acme", "200 /.well-known/acme"),
        (["/index.html", "/app.js"], "/* /index.html 200!", "/app.js", "200 /index.html"),
        (["/index.html", "/404.html"], "/* /index.html 200!", "/gone.js", "404 /404.html"),
        (["/index.html", "/data.json"], f"/x.js /data.json 200\n{SPA}", "/x.js", "200 /data.json"),
        (["/old.html"], "/a /old 404", "/a", "404 /old.html"),
        (["/old.html"], "/a /old 410", "/a", "410 /old.html"),
        (["/404.html"], "/a /old 410", "/a", "410 /404.html"),
        ([], "/a /old 410", "/a", "410"),
        (["/index.html"], "/a /old 404", "/a", "404"),
        (["/index.html"], "/a /missing 200", "/a", "404"),
        (["/index.html", "/404.html"], "/a /missing 200", "/a", "404 /404.html"),
        (["/b.html", "/c.html"], "/a /b 200\n/b /c 200!", "/a", "200 /b.html"),
        ([], "/a/* https://e.org/x/:splat 200", "/a/b", "← https://e.org/x/b"),
        (["/x/y"], "/a/* /x/:splat 200", "/a/../x/y", "404"),
        ([], "/a /a/ 301", "/a", "301 → /a/"),
        ([], "/a /a/ 301", "/a/", "404"),
        (["/index.html"], "/* /:splat 301", "/a b", "200 /index.html"),
        (["/x.html"], "http://site.example/* https://site.example/:splat 301!", "/x", "200 /x.html"),
        ([], "http://site.example/* https://site.example/y 301!", "/x", "301 → https://site.example/y"),
    ],
)
def test_rules_with_a_mark_go_before_files_and_others_after_them(paths, redirects, path, answer):
    assert decide(paths, redirects, path) == answer


def test_what_is_at_an_address_and_what_is_elsewhere_are_asked_apart():
    manifest = make_manifest(["/404.html"], rules=compile_rules({"_redirects": SPA.replace("index", "404")}).rules)
    assert at_its_address(manifest, Visit("/app.js")) is None
    assert isinstance(elsewhere(manifest, Visit("/app.js"), True), Serve)


@pytest.mark.parametrize(
    "clean, slash, path, answer",
    [
        (True, None, "/x.html", "308 → /x"),
        (True, None, "/x", "200 /x.html"),
        (True, None, "/d", "308 → /d/"),
        (False, None, "/x.html", "200 /x.html"),
        (False, None, "/x", "404"),
        (False, None, "/d", "308 → /d/"),
        (False, None, "/d/index.html", "200 /d/index.html"),
        (False, None, "/d/", "200 /d/index.html"),
        (None, True, "/x", "308 → /x/"),
        (None, True, "/x/", "200 /x.html"),
        (None, True, "/x.html", "308 → /x/"),
        (None, True, "/d/", "200 /d/index.html"),
        (None, True, "/d/index.html", "308 → /d/"),
        (None, True, "/a.js", "200 /a.js"),
        (None, True, "/", "200 /index.html"),
        (None, False, "/x/", "308 → /x"),
        (None, False, "/x", "200 /x.html"),
        (None, False, "/d/", "308 → /d"),
        (None, False, "/d", "200 /d/index.html"),
        (None, False, "/", "200 /index.html"),
        (None, False, "/index.html", "308 → /"),
        (True, False, "/d/index.html", "308 → /d"),
        (False, True, "/x.html", "200 /x.html"),
        (None, False, "//", "404"),
        (None, True, "//x", "404"),
    ],
)
def test_vercel_json_decides_how_addresses_of_pages_look(clean, slash, path, answer):
    tables = {"cleanUrls": clean, "trailingSlash": slash}
    given = {name: value for name, value in tables.items() if value is not None}
    assert decide(["/index.html", "/x.html", "/d/index.html", "/a.js", "/404.html"], "", path, **given) == (
        "404 /404.html" if answer == "404" else answer
    )


def answered(headers: str, path: str, redirects: str = "", **asked: str) -> dict[str, list[str]]:
    """Return the status and headers of an answer of a site with these rules."""
    paths = ["/index.html", "/assets/app.0a1b2c3d.js", "/404.html"]
    manifest = make_manifest(paths, rules=compile_rules({"_headers": headers, "_redirects": redirects}).rules)
    visit = Visit(path, headers={name.replace("_", "-").encode(): value.encode() for name, value in asked.items()})
    decision = resolve(manifest, visit, takes_html=True)
    assert not isinstance(decision, Remote)
    extras = Extras(merged(manifest.matcher.blocks(visit)), visit.headers_looked_at)
    first, *lines = prepare(decision, read_accepts(None, None), False, extras).head.decode().rstrip().split("\r\n")
    found: dict[str, list[str]] = {"status": [first.split()[1]]}
    for line in lines:
        name, _, value = line.partition(": ")
        found.setdefault(name, []).append(value)
    return found


def test_an_owners_headers_go_over_the_defaults():
    headers = "/*\n  Cache-Control: max-age=60\n  X-Frame-Options: DENY\n  ! Referrer-Policy\n  content-type: text/x"
    found = answered(headers, "/")
    assert found["Cache-Control"] == ["max-age=60"]
    assert found["X-Frame-Options"] == ["DENY"]
    assert found["X-Content-Type-Options"] == ["nosniff"]
    assert found["Content-Type"] == ["text/x"]
    assert "Referrer-Policy" not in found
    assert "content-type" not in found
    assert answered("", "/")["Cache-Control"] == [REVALIDATE]


def test_that_nothing_is_there_is_never_to_be_kept():
    headers = f"/*\n  Cache-Control: {IMMUTABLE}\n  X-A: b"
    found = answered(headers, "/assets/gone.0a1b2c3d.js")
    assert (found["status"], found["Cache-Control"], found["X-A"]) == (["404"], [NO_STORE], ["b"])
    assert answered(headers, "/assets/app.0a1b2c3d.js")["Cache-Control"] == [IMMUTABLE]


def test_a_rewrite_is_never_immutable():
    found = answered("", "/x", "/x /assets/app.0a1b2c3d.js 200")
    assert (found["status"], found["Cache-Control"]) == (["200"], [REVALIDATE])


def test_a_redirect_has_the_owners_headers_too():
    found = answered("/a\n  X-A: b", "/a", "/a /b 302")
    assert (found["status"], found["Location"], found["X-A"]) == (["302"], ["/b"], ["b"])


def test_what_an_answer_depends_on_is_in_vary():
    redirects = "/a /b 302 Language=de\n/a /c 302 Cookie=k"
    assert answered("", "/a", redirects, accept_language="de")["Vary"] == ["Accept-Language"]
    assert answered("", "/a", redirects, cookie="k=1")["Vary"] == ["Accept-Language, Cookie"]
    assert answered("/*\n  Vary: Origin, cookie\n", "/a", redirects, cookie="k=1")["Vary"] == [
        "Accept-Language, Cookie, Origin"
    ]
    assert answered("/*\n  ! Vary\n", "/a", redirects, cookie="k=1")["Vary"] == ["Accept-Language, Cookie"]


def test_each_cookie_is_a_line_of_its_own():
    assert answered("/*\n  Set-Cookie: a=1\n  Set-Cookie: b=2", "/")["Set-Cookie"] == ["a=1", "b=2"]


def test_the_platforms_own_page_keeps_its_look():
    manifest = make_manifest([], rules=compile_rules({"_headers": "/*\n  Content-Security-Policy: x\n  X-A: b"}).rules)
    visit = Visit("/gone")
    decision = resolve(manifest, visit, takes_html=True)
    assert isinstance(decision, Nothing)
    extras = Extras(merged(manifest.matcher.blocks(visit)))
    head = prepare(decision, read_accepts(None, None), False, extras).head
    assert head.count(b"Content-Security-Policy: ") == 1
    assert b"Content-Security-Policy: default-src" in head
    assert b"X-A: b" in head
