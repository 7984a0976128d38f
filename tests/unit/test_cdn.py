"""What a CDN may keep, and what it is told to forget: each path that the one allows, the other names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autostack.errors import ConfigurationError
from autostack.proxy import cdn as proxy_cdn
from autostack.proxy.negotiation import read_accepts
from autostack.proxy.own_headers import Extras
from autostack.proxy.resolve import Serve, decode_path, resolve
from autostack.proxy.respond import prepare
from autostack.settings import load_settings
from autostack.sites.cdn import EVERYTHING, addresses, limited, outdated
from autostack.sites.routes import Protection, Route
from autostack.sites.rules.match import Visit
from tests.sites import make_file, make_manifest

PATHS = ["/index.html", "/about.html", "/docs/index.html", "/app.css", "/assets/app-4f2a91c3.js", "/404.html"]
BEFORE = make_manifest(PATHS)
ROUTE = Route("site", 1, BEFORE.project_id, BEFORE.deployment_id)
DAY = 86_400


def changed(*paths, **added):
    """Return the manifest of the next deployment, in which these files have other contents."""
    files = {**BEFORE.files, **{path: make_file(path, b"new " + path.encode())[0] for path in paths}}
    return replace(BEFORE, deployment_id="0" * 8 + BEFORE.deployment_id[8:], files=files, **added)


def kept_s(path, manifest=BEFORE, route=ROUTE, headers=()):
    asked = path.encode("latin-1")
    visit = Visit(decode_path(asked), "site.localhost", b"", dict(headers), None)
    return proxy_cdn.seconds(route, visit, asked, resolve(manifest, visit, True, lambda _: None), DAY)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/index.html", {"/index.html", "/"}),
        ("/about.html", {"/about.html", "/about"}),
        ("/docs/index.html", {"/docs/index.html", "/docs/"}),
        ("/app.css", {"/app.css"}),
        ("/caf\u00e9 *.txt", {"/caf%C3%A9%20%2A.txt"}),
    ],
)
def test_a_files_addresses_are_forgotten_when_it_changes(path, expected):
    assert outdated(BEFORE, changed(path)) == expected


def test_what_stays_the_same_is_kept():
    assert outdated(BEFORE, changed()) == set()


def test_files_that_come_and_go_are_forgotten_but_for_those_with_a_hash_in_their_name():
    gone = replace(BEFORE, files={"/index.html": BEFORE.files["/index.html"]})
    expected = {"/about", "/about.html", "/docs/", "/docs/index.html", "/app.css", "/404", "/404.html"}
    assert outdated(BEFORE, gone) == outdated(gone, BEFORE) == expected


def test_a_file_with_a_hash_in_its_name_that_changes_all_the_same_is_forgotten():
    assert outdated(BEFORE, changed("/assets/app-4f2a91c3.js")) == {"/assets/app-4f2a91c3.js"}


def test_other_rules_or_fallbacks_have_everything_forgotten():
    assert outdated(BEFORE, changed(fallback="spa")) == {EVERYTHING}


def test_too_many_paths_or_too_long_ones_are_everything():
    assert limited({"/b", "/a"}, 2) == ["/a", "/b"]
    assert limited({"/a", "/b", "/c"}, 2) == [EVERYTHING]
    assert limited({"/" + "x" * 5_000}, 2) == [EVERYTHING]
    assert limited({"/a", EVERYTHING}, 2) == [EVERYTHING]


@pytest.mark.parametrize("path", ["/", "/about", "/docs/", "/app.css", "/404"])
def test_what_may_be_kept_is_named_when_it_changes(path):
    assert kept_s(path) == DAY
    assert any(path in addresses(file) for file in PATHS)


@pytest.mark.parametrize(
    ("told", "others"),
    [
        ("/about", ["/%61bout", "/abou%74"]),
        ("/caf%C3%A9/", ["/caf%c3%a9/", "/caf\u00c3\u00a9/"]),
        ("/a%5B1%5D", ["/a[1]", "/a%5b1%5d"]),
        ("/x%7Cy.txt", ["/x|y.txt"]),
    ],
)
def test_a_page_is_kept_under_the_one_spelling_that_is_named_when_it_changes(told, others):
    files = ["/about.html", "/caf\u00e9/index.html", "/a[1].html", "/x|y.txt"]
    manifest = make_manifest(files)
    after = replace(manifest, files={path: make_file(path, b"new")[0] for path in files})
    assert told in outdated(manifest, after)
    assert kept_s(told, manifest) == DAY
    assert [kept_s(other, manifest) for other in others] == [0] * len(others)


def test_no_fallback_nothing_missing_no_preview_and_nothing_with_a_password_is_kept():
    protection = Protection("$2b$12$" + "a" * 53, "key-1234")
    spa = make_manifest(["/index.html"], fallback="spa")
    assert kept_s("/some/where", spa) == 0
    assert kept_s("/missing.txt") == 0
    assert kept_s("/about.html") == 0
    assert kept_s("/", route=replace(ROUTE, kind="deployment")) == 0
    assert kept_s("/", route=replace(ROUTE, protection=protection)) == 0
    assert kept_s("/", route=replace(ROUTE, kind="branch")) == DAY


def headers_of(path, extras):
    """Return the headers of an answer with a file, which those of 304 agree with."""
    prepared = prepare(Serve(path, BEFORE.files[path]), read_accepts(None, None), False, extras)
    told, told_again = (
        {name.lower(): value for name, _, value in (line.partition(": ") for line in head.decode().split("\r\n"))}
        for head in (prepared.head, prepared.unchanged[0])
    )
    assert told["cache-control"] == told_again["cache-control"]
    return told


def test_a_cdn_is_told_how_long_and_browsers_that_they_must_ask():
    headers = headers_of("/about.html", Extras(cdn_s=60))
    assert headers["cache-control"] == "public, max-age=0, s-maxage=60, must-revalidate"
    assert headers["cdn-cache-control"] == "public, max-age=60"


def test_without_a_cdn_and_for_what_is_kept_for_good_nothing_is_said_to_it():
    assert "cdn-cache-control" not in headers_of("/about.html", Extras())
    assert headers_of("/assets/app-4f2a91c3.js", Extras(cdn_s=60))["cache-control"].endswith("immutable")


def test_what_the_owner_decides_on_stands():
    headers = headers_of("/about.html", Extras({"Cache-Control": ("max-age=5",)}, cdn_s=60))
    assert headers["cache-control"] == "max-age=5"
    assert "cdn-cache-control" not in headers


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 0),
        ({"cdn_max_age_s": 60}, 0),
        ({"cdn_url": "https://cdn.example.com"}, 0),
        ({"cdn_url": "https://cdn.example.com", "cdn_max_age_s": 60}, 60),
        ({"cloudfront_distribution_id": "E2ABC"}, DAY),
        ({"cloudfront_distribution_id": "E2ABC", "cdn_max_age_s": 60}, 60),
    ],
)
def test_a_cdn_keeps_pages_for_a_day_where_it_is_told_of_changes(given, seconds):
    assert load_settings(**given).cdn_keeps_s == seconds


@pytest.mark.parametrize("given", [{"cdn_url": "cdn"}, {"cloudfront_distribution_id": "../x"}, {"cdn_max_paths": 0}])
def test_settings_that_make_no_sense_are_refused(given):
    with pytest.raises(ConfigurationError):
        load_settings(**given)
