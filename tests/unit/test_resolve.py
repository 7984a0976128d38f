"""Which file answers which path: SERVING.md as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostack.proxy.resolve import BadPath, Nothing, Redirect, Role, Serve, decode_path, resolve
from autostack.sites.rules.match import Visit
from tests.sites import make_manifest


def decide(paths: list[str], path: str, takes_html: bool = True, fallback: str = "auto") -> object:
    """Return `(path, role)` of what is served, a redirect's target, or None."""
    match resolve(make_manifest(paths, fallback), Visit(path), takes_html):
        case Serve(served, _, role):
            return served, role
        case Redirect(location):
            return location
        case Nothing():
            return None


@pytest.mark.parametrize(
    "paths, path, served",
    [
        (["/index.html"], "/", "/index.html"),
        (["/a.js"], "/a.js", "/a.js"),
        (["/x.html"], "/x", "/x.html"),
        (["/x/index.html"], "/x/", "/x/index.html"),
        (["/x.html", "/x/index.html"], "/x", "/x.html"),
        (["/x.html", "/x/index.html"], "/x/", "/x/index.html"),
        (["/x", "/x.html"], "/x", "/x"),
        (["/x", "/x.html"], "/x.html", "/x.html"),
        (["/x", "/x/index.html"], "/x", "/x"),
        (["/a b/ü.html"], "/a b/ü", "/a b/ü.html"),
        (["/.html"], "/.html", "/.html"),
        (["/a\\b"], "/a\\b", "/a\\b"),
        (["/.well-known/x.html"], "/.well-known/x.html", "/.well-known/x.html"),
        (["/.well-known/x/index.html"], "/.well-known/x/index.html", "/.well-known/x/index.html"),
    ],
)
def test_a_file_answers(paths, path, served):
    assert decide(paths, path) == (served, Role.FILE)


@pytest.mark.parametrize(
    "paths, path, location",
    [
        (["/x.html"], "/x.html", "/x"),
        (["/index.html"], "/index.html", "/"),
        (["/x/index.html"], "/x/index.html", "/x/"),
        (["/x.html"], "/x/", "/x"),
        (["/x/index.html"], "/x", "/x/"),
        (["/x.html", "/x/index.html"], "/x.html", "/x"),
        (["/x.html", "/x/index.html"], "/x/index.html", "/x/"),
        (["/ü b?.html"], "/ü b?.html", "/%C3%BC%20b%3F"),
        (["/\\evil.com/index.html"], "/\\evil.com", "/%5Cevil.com/"),
    ],
)
def test_a_page_has_one_address_and_the_others_lead_to_it(paths, path, location):
    assert decide(paths, path) == location


@pytest.mark.parametrize(
    "paths, path, page",
    [
        (["/404.html"], "/x", "/404.html"),
        (["/404.html", "/a/404.html"], "/a/b/c", "/a/404.html"),
        (["/404.html", "/a/404.html"], "/b/c", "/404.html"),
        (["/404.html", "/a/404.html"], "/a", "/404.html"),
        (["/404.html", "/200.html", "/index.html"], "/x", "/404.html"),
        (["/404.html"], "/x.js", "/404.html"),
    ],
)
def test_what_is_missing_gets_the_nearest_404_page(paths, path, page):
    assert decide(paths, path) == (page, Role.NOT_FOUND)


@pytest.mark.parametrize(
    "paths, path, page",
    [
        (["/index.html"], "/users/7", "/index.html"),
        (["/index.html"], "/users/john.doe", "/index.html"),
        (["/index.html", "/200.html"], "/x", "/200.html"),
        (["/index.html"], "/x/", "/index.html"),
    ],
)
def test_a_navigation_within_an_application_gets_its_one_page(paths, path, page):
    assert decide(paths, path) == (page, Role.FALLBACK)


@pytest.mark.parametrize(
    "paths, path, takes_html",
    [
        (["/index.html"], "/missing.js", True),
        (["/index.html", "/200.html"], "/assets/missing.css", True),
        (["/index.html"], "/api/users", False),
        (["/index.html"], "/.well-known/acme", True),
        (["/404.html"], "/.well-known/acme", True),
        (["/a.html"], "/b", True),
        (["/x.html"], "//x", True),
        (["/x.html"], "/x//", True),
        (["/x/index.html"], "/x//", True),
    ],
)
def test_nothing_answers_what_is_neither_there_nor_a_navigation(paths, path, takes_html):
    assert decide(paths, path, takes_html) is None


def test_a_project_says_whether_its_index_answers_for_all():
    paths = ["/index.html", "/404.html"]
    assert decide(paths, "/x", fallback="spa") == ("/index.html", Role.FALLBACK)
    assert decide(paths, "/x", fallback="auto") == ("/404.html", Role.NOT_FOUND)
    assert decide(["/index.html"], "/x", fallback="none") is None
    assert decide(paths, "/x.js", fallback="spa") == ("/404.html", Role.NOT_FOUND)


@pytest.mark.parametrize(
    "raw, path",
    [
        (b"/", "/"),
        (b"/a%20b", "/a b"),
        (b"/%C3%BC", "/ü"),
        (b"/a;b", "/a;b"),
        (b"/a%2Fb", "/a/b"),
        (b"/a%", "/a%"),
        (b"/...", "/..."),
        (b"//a", "//a"),
        (b"/a\\..\\b", "/a\\..\\b"),
        (b"/%252e%252e/", "/%2e%2e/"),
    ],
)
def test_a_path_is_decoded_once(raw, path):
    assert decode_path(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        b"/../x",
        b"/a/..",
        b"/%2e%2e/x",
        b"/.%2E/x",
        b"/a/%2e/b",
        b"/%00",
        b"/a%00.html",
        b"/%c0%ae%c0%ae/",
        b"/%c0%af",
        b"/%ff",
        b"/\xff",
        b"/..%2fx",
        b"/%ed%a0%80",
        b"x",
        b"",
    ],
)
def test_a_path_without_meaning_is_refused(raw):
    with pytest.raises(BadPath):
        decode_path(raw)


SEGMENT = st.sampled_from(["a", "index.html", "a.html", "404.html", "b.js", "200.html", "c"])
PATHS = st.lists(st.lists(SEGMENT, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts)), max_size=6)
ASKED = st.lists(SEGMENT | st.just(""), max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(PATHS, ASKED)
def test_a_redirect_leads_to_a_page_in_one_step(paths, asked):
    location = decide(paths, asked)
    if isinstance(location, str):
        served = decide(paths, decode_path(location.encode()))
        assert served is not None
        assert not isinstance(served, str)
        assert served[1] is Role.FILE
        assert location.startswith("/")
        assert not location.startswith("//")


@given(PATHS, ASKED)
def test_every_file_is_reached_by_its_own_path_at_most_one_redirect_away(paths, asked):
    for path in paths:
        first = decide(paths, path)
        assert first == (path, Role.FILE) or decide(paths, str(first)) == (path, Role.FILE)
