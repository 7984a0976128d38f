"""Redirects and rewrites as `_redirects` and netlify.toml have them: SERVING.md as tables."""

from __future__ import annotations

import pytest

from autostack.sites.manifest import Manifest
from autostack.sites.rules.compile import MAX_NOTES, MAX_RULES, MAX_SOURCE, compile_rules
from autostack.sites.rules.match import Matcher, Visit
from autostack.sites.rules.targets import local_path, location, with_query
from tests.sites import make_manifest


def follow(text: str, target: str, country_header: str | None = None, **headers: str) -> str | None:
    """Return `status location` for a path and query, None where no rule of a `_redirects` matches."""
    path, _, query = target.partition("?")
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    visit = Visit(path, "site.example", query.encode(), given, country_header)
    matcher = Matcher(compile_rules({"_redirects": text}, country_header).rules)
    for match in (*matcher.matches(visit, forced=True), *matcher.matches(visit, forced=False)):
        return f"{match.rule.status} {with_query(location(match.rule.target, match.captures), visit.query)}"
    return None


@pytest.mark.parametrize(
    "rule, target, answer",
    [
        ("/a /b", "/a", "301 /b"),
        ("/a /b", "/a/", "301 /b"),
        ("/a/ /b", "/a", "301 /b"),
        ("/a /b", "/A", None),
        ("/a /b", "/a//", None),
        ("/a /b", "/a/b", None),
        ("/ /b", "/", "301 /b"),
        ("/ /b", "/a", None),
        ("/a /b 302", "/a", "302 /b"),
        ("/a /b 200!", "/a", "200 /b"),
        ("/news/* /blog/:splat", "/news", "301 /blog/"),
        ("/news/* /blog/:splat", "/news/", "301 /blog/"),
        ("/news/* /blog/:splat", "/news/a/b", "301 /blog/a/b"),
        ("/news/* /blog/:splat", "/news/a/", "301 /blog/a/"),
        ("/news/* /blog/:splat", "/newsx", None),
        ("/news/* /blog", "/news/a/b", "301 /blog"),
        ("/pre* /q/:splat", "/pre", "301 /q/"),
        ("/pre* /q/:splat", "/prefix", "301 /q/fix"),
        ("/pre* /q/:splat", "/prefix/b", "301 /q/fix/b"),
        ("/pre* /q", "/prefix/b", "301 /q"),
        ("/pre* /q/:splat", "/pr", None),
        ("/a/*/z /q/:splat", "/a/b/z", "301 /q/b"),
        ("/a/*/z /q/:splat", "/a/b/c/z", "301 /q/b/c"),
        ("/a/*/z /q/:splat", "/a/z", "301 /q/"),
        ("/a/*/z /q/:splat", "/a/b/z/", "301 /q/b"),
        ("/a/*/z /q", "/a/b/c", None),
        ("/a/*/y/z /q", "/a/b/z", None),
        ("/a/*/y/z /q", "/a/b/y/z", "301 /q"),
        ("/a/*/b/* /q/:splat", "/a/1/b/2", "301 /q/1"),
        ("/a/*/:x /q/:x", "/a/b/c", "301 /q/c"),
        ("/a/*// /q/:splat", "/a/b//", "301 /q/b/"),
        ("/a/:x/b /q/:x", "/a/1/b", "301 /q/1"),
        ("/a/:x/b /q/:x", "/a//b", None),
        ("/a/:x /q", "/a/1/2", None),
        ("/blog/:year/:month /b/:month-:year", "/blog/1/2", "301 /b/2-1"),
        ("/:a/:a /q/:a", "/1/2", "301 /q/1"),
        ("/a/:splat /b/:splat", "/a/b", "301 /b/b"),
        ("/a/* /b/:splat.html", "/a/x", "301 /b/x.html"),
        ("/a/:x /b/:unknown/:x", "/a/1", "301 /b/:unknown/1"),
        ("/a%20b /c", "/a b", "301 /c"),
        ("/é /ü", "/é", "301 /%C3%BC"),
        ("/a/:x /b/:x", "/a/ü ?", "301 /b/%C3%BC%20"),
        ("/* https://e.org/:splat 302", "/a/b", "302 https://e.org/a/b"),
        ("/* HTTPS://e.org/:splat 302", "/a", "302 https://e.org/a"),
        ("/a /b#part", "/a?x=1", "301 /b?x=1#part"),
    ],
)
def test_a_path_is_matched_as_netlify_does(rule, target, answer):
    assert follow(rule, target) == answer


@pytest.mark.parametrize("path", ["//evil.example", "//evil.example/a", "/\\evil.example"])
def test_a_redirect_within_the_site_never_leads_to_another(path):
    answer = follow("/* /:splat 302", path)
    assert answer is not None
    assert not answer.startswith(("302 //", "302 /\\"))


def test_a_capture_cannot_become_a_query_or_a_header():
    assert follow("/a/:x /b/:x", "/a/1%3Fy") == "301 /b/1%253Fy"
    visit = Visit("/a/1?y#z\r\nSet-Cookie: a", "")
    (match,) = Matcher(compile_rules({"_redirects": "/a/:x /b/:x"}).rules).matches(visit, forced=False)
    assert location(match.rule.target, match.captures) == "/b/1%3Fy%23z%0D%0ASet-Cookie:%20a"
    assert local_path(match.rule.target, match.captures) == "/b/1?y#z\r\nSet-Cookie: a"


@pytest.mark.parametrize(
    "rule, target, answer",
    [
        ("/a x=1 /b", "/a?x=1", "301 /b?x=1"),
        ("/a x=1 /b", "/a?k=2&x=1", "301 /b?k=2&x=1"),
        ("/a x=1 /b", "/a?x=2", None),
        ("/a x=1 /b", "/a", None),
        ("/a x=1 y=2 /b", "/a?y=2", None),
        ("/a x=:v y=2 /b?z=:v", "/a?x=1&y=2", "301 /b?z=1"),
        ("/a x=:v /b/:v", "/a?x=a%2Fb%26c", "301 /b/a/b%26c?x=a%2Fb%26c"),
        ("/a x=:v /b?z=:v", "/a?x=a%26b", "301 /b?z=a%26b"),
        ("/a x=:v /b?z=:v", "/a?x=", "301 /b?z="),
        ("/a x /b", "/a?x=7", "301 /b?x=7"),
        ("/a /b", "/a?x=1", "301 /b?x=1"),
        ("/a /b?c=d", "/a?x=1", "301 /b?c=d"),
        ("/a /b", "/a?\u00fc", "301 /b?%C3%BC"),
    ],
)
def test_the_query_is_matched_and_kept(rule, target, answer):
    assert follow(rule, target) == answer


@pytest.mark.parametrize(
    "conditions, headers, matches",
    [
        ("Language=de", {"accept_language": "de"}, True),
        ("Language=de", {"accept_language": "de-AT,en;q=0.5"}, True),
        ("Language=de", {"accept_language": "en,de;q=0.5"}, False),
        ("Language=de", {"accept_language": "en;q=0.1,de;q=0.2"}, True),
        ("Language=en,de-at", {"accept_language": "de-AT"}, True),
        ("Language=de-at", {"accept_language": "de"}, False),
        ("Language=de", {"accept_language": "de;q=x"}, True),
        ("Language=de", {}, False),
        ("Country=de,at", {"x_country": "AT"}, True),
        ("Country=de,at", {"x_country": "ch"}, False),
        ("Country=de,at", {}, False),
        ("Cookie=old,older", {"cookie": "a=1; older=2"}, True),
        ("Cookie=old,older", {"cookie": "a=1"}, False),
        ("Cookie=old", {"cookie": "a=old"}, False),
        ("Country=de Language=en", {"x_country": "de", "accept_language": "en"}, True),
        ("Country=de Language=en", {"x_country": "de", "accept_language": "de"}, False),
    ],
)
def test_conditions_all_have_to_hold(conditions, headers, matches):
    assert follow(f"/a /b 302 {conditions}", "/a", "X-Country", **headers) == ("302 /b" if matches else None)


def test_what_an_answer_depends_on_is_noted():
    rules = "/a x=1 /b\n/c /d 302 Language=de\n/e /f 302 Cookie=k Country=de\n/g /h"
    matcher = Matcher(compile_rules({"_redirects": rules}, "X-Country").rules)
    seen = {}
    for path in ("/a", "/c", "/e", "/g", "/i"):
        visit = Visit(path, headers={b"cookie": b"k=1"}, country_header="X-Country")
        list(matcher.matches(visit, forced=False))
        seen[path] = visit.looked_at
    assert seen == {"/a": {"?"}, "/c": {"Accept-Language"}, "/e": {"Cookie", "X-Country"}, "/g": set(), "/i": set()}


def test_the_first_rule_that_matches_answers():
    rules = "/a/b /1\n/a/* /2\n/a/c /3\n/:x/d /4\n/* /5"
    answers = [follow(rules, path) for path in ("/a/b", "/a/c", "/a/d", "/b/d", "/b")]
    assert answers == ["301 /1", "301 /2", "301 /2", "301 /4", "301 /5"]


def test_a_rule_from_an_address_is_for_that_host_only():
    assert follow("https://site.example/a /b", "/a") == "301 /b"
    assert follow("http://other.example/a /b", "/a") is None
    assert follow("http://site.example/* /b/:splat", "/") == "301 /b/"


def test_a_target_may_be_left_out_for_what_is_passed_on():
    assert follow("/* 200", "/x/y") == "200 /x/y"
    assert follow("/a/* 200!", "/a/b") == "200 /a/b"


@pytest.mark.parametrize(
    "line, why",
    [
        ("/a", "no target"),
        ("/a b", "no target"),
        ("a /b", "begins with /"),
        ("/a /b 999", "status 999"),
        ("/a /b 401", "status 401"),
        ("/a /b 30", "no status"),
        ("/a /b 301 Role=admin", "'Role' is not supported"),
        ("/a /b 301 Country=", "has no value"),
        ("/a/*.html /b", "only end a segment"),
        ("/a/:x.html /b", "whole segment"),
        ("/a 200", "may be left out only"),
        ("/a/* 301", "may be left out only"),
        ("/a/* https://:splat/ 301", "host name"),
        ("/a/* https://:splat.e.org/ 301", "host name"),
        ("/a/* https://e.org:splat 301", "host name"),
        ("/a https://user:pass@e.org/ 200", "no host"),
        ("/a http:///b", "no host"),
        ("/a https://e.org/ 404", "file of the site"),
        ("/.autostack/x /b", "the platform's"),
        ("/a =1 /b", "no name"),
        ("http://[/a /b", "no address"),
        ("http:///a /b", "no address"),
        (f"/{'a' * 5000} /b", "at most 4,096"),
        (f"{'/a' * 101} /b", "100 segments"),
        (f"/a /{'b' * 5000}", "at most 4,096"),
        (f"/a /b {'x' * 20_000}", "at most 16,384"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_left_out(line, why):
    compiled = compile_rules({"_redirects": f"# ours\n/good /x\n{line}\n/better /y"})
    assert [rule.text for rule in compiled.rules.redirects] == ["/good /x", "/better /y"]
    (note,) = compiled.notes
    assert note.startswith("_redirects:3: ")
    assert why in note


def test_comments_blank_lines_and_a_mark_at_the_beginning_are_no_rules():
    compiled = compile_rules({"_redirects": "\ufeff# a\r\n\r\n  /a /b 302 # because /c\r\n#/d /e"})
    assert compiled.notes == []
    assert [(rule.text, rule.source) for rule in compiled.rules.redirects] == [("/a /b 302", "_redirects:3")]


def test_of_exact_duplicates_the_last_is_kept():
    rules = compile_rules({"_redirects": "/a /b\n/* /c\n/a /b\n/a /d"}).rules.redirects
    assert [rule.source for rule in rules] == ["_redirects:2", "_redirects:3", "_redirects:4"]


def test_a_country_that_nobody_tells_is_reported():
    text = "/a /b 302 Country=de"
    assert follow(text, "/a", None, x_country="de") is None
    (note,) = compile_rules({"_redirects": text}).notes
    assert note.startswith("_redirects:1: Country never matches")


def test_netlify_toml_says_the_same_after_redirects():
    text = """
[build]
publish = "dist"

[[redirects]]
from = "/a/*"
to = "/b/:splat"
status = 302
force = true
query = {x = "1", y = ":y"}
conditions = {Language = ["de", "en"], Cookie = "k"}

[[redirects]]
from = "/c"

[[redirects]]
from = "/d"
to = "/e"
"""
    compiled = compile_rules({"netlify.toml": text, "_redirects": "/d /first"})
    assert [rule.source for rule in compiled.rules.redirects] == ["_redirects:1", "netlify.toml:5", "netlify.toml:16"]
    same = compile_rules({"_redirects": "/a/* x=1 y=:y /b/:splat 302! Language=de,en Cookie=k"}).rules.redirects[0]
    ours = compiled.rules.redirects[1]
    assert (ours.pattern, ours.target, ours.conditions) == (same.pattern, same.target, same.conditions)
    assert (ours.status, ours.forced) == (302, True)
    assert compiled.notes == [
        "netlify.toml:13: the target may be left out only for a path that ends in /* with the status 200"
    ]


@pytest.mark.parametrize(
    "text, note",
    [
        ("[[redirects]", "netlify.toml: it cannot be read"),
        ('redirects = "x"', "netlify.toml: redirects: it should be a list"),
        ("redirects = [1]", "netlify.toml: redirects 1: a redirect is a table"),
        ('[[redirects]]\nfrom = 1\nto = "/a"', "netlify.toml:1: `from` is text"),
        ('[[redirects]]\nto = "/a"', "netlify.toml:1: `from` is missing"),
        ('[[redirects]]\nfrom = "/a"\nto = "/b"\nstatus = "x"', "netlify.toml:1: `status` is a number"),
        ('[[redirects]]\nfrom = "/a"\nto = "/b"\nsigned = "KEY"', "netlify.toml:1: `signed` and `headers`"),
        ('[[redirects]]\nfrom = "/a"\nto = "/b"\nquery = 1', "netlify.toml:1: `query` is a table"),
        ('[[redirects]]\nfrom = "/a"\nto = "/b"\nconditions = {Country = [1]}', "netlify.toml:1: the values"),
        ("x = " + "[" * 5000, "netlify.toml: it cannot be read"),
    ],
)
def test_what_is_wrong_in_netlify_toml_is_reported(text, note):
    compiled = compile_rules({"netlify.toml": text})
    assert compiled.rules.redirects == ()
    assert compiled.notes[0].startswith(note)


def test_notes_and_sources_have_a_limit():
    compiled = compile_rules({"_redirects": "bad\n" * 1000})
    assert len(compiled.notes) == MAX_NOTES + 1
    assert compiled.notes[-1] == "and 950 more"
    too_large = compile_rules({"_redirects": "/a /b\n" * (MAX_SOURCE // 6 + 1)})
    assert too_large.rules.redirects == ()
    assert "left out" in too_large.notes[0]


def test_so_many_lines_are_read_and_no_more():
    compiled = compile_rules({"_redirects": "x\n" * (MAX_RULES + 2), "_headers": "/a\n  X-A: b"})
    assert compiled.notes[0] == f"of {MAX_RULES + 3:,} redirects and headers the first {MAX_RULES:,} are read"
    assert compiled.rules.headers == ()


def test_blank_lines_and_comments_are_not_counted():
    compiled = compile_rules({"_redirects": "# a\n\n" * MAX_RULES + "/a /b"})
    assert compiled.notes == []
    assert len(compiled.rules.redirects) == 1


def test_rules_survive_the_store():
    sources = {"_redirects": "/a/* x=:x /b/:splat?y=:x 302! Language=de", "_headers": "/*\n  X-A: b\n  ! X-C"}
    manifest = make_manifest(["/index.html"], rules=compile_rules(sources).rules)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_ten_thousand_rules_are_not_looked_at_one_by_one():
    lines = [f"/old/{number} /new/{number}" for number in range(4000)]
    lines += [f"/ p={number} /post/{number}" for number in range(3000)]
    lines += [f"/:lang/page-{number} /:lang/{number}" for number in range(1000)]
    lines += [f"/x/*/end-{number} /y/{number}" for number in range(1000)]
    lines += [f"/start-{number}* /z/{number}" for number in range(1000)]
    manifest = make_manifest([], rules=compile_rules({"_redirects": "\n".join(lines)}).rules)
    for target in ("/old/77", "/?p=2999", "/de/page-7", "/x/a/b/end-9", "/start-999x", "/none"):
        path, _, query = target.partition("?")
        looked_at = manifest.matcher.candidates(Visit(path, query=query.encode()))
        assert len(looked_at) <= 3, target
    assert follow("\n".join(lines), "/?p=2999") == "301 /post/2999?p=2999"
