"""Headers as `_headers` and netlify.toml have them: SERVING.md as tables."""

from __future__ import annotations

import pytest

from autostack.sites.rules.compile import Source, compile_rules
from autostack.sites.rules.match import MAX_HEADER_BYTES, Matcher, Visit, merged


def headers_of(text: str, path: str, source: Source = "_headers") -> dict[str, object]:
    compiled = compile_rules({source: text})
    assert compiled.notes == []
    found = merged(Matcher(compiled.rules).blocks(Visit(path)))
    return {name: values and (values[0] if len(values) == 1 else list(values)) for name, values in found.items()}


@pytest.mark.parametrize(
    "pattern, path, matches",
    [
        ("/a", "/a", True),
        ("/a", "/a/", True),
        ("/a/", "/a", True),
        ("/A", "/a", True),
        ("/a", "/A", True),
        ("/a", "/b", False),
        ("/", "/", True),
        ("/", "/a", False),
        ("/*", "/", True),
        ("/*", "/a/b.js", True),
        ("/a/*", "/a", True),
        ("/a/*", "/a/b/c", True),
        ("/a/*", "/ab", False),
        ("/a*", "/ab", True),
        ("/a*", "/ab/c", True),
        ("/*.js", "/a.js", True),
        ("/*.js", "/a/b.JS", True),
        ("/*.js", "/a.css", False),
        ("/*.js", "/a.js/b", False),
        ("/a/*.js", "/a/b/c.js", True),
        ("/a/*.js", "/b/c.js", False),
        ("/a*b*c", "/a-b-c", True),
        ("/a*b*c", "/a-c", False),
        ("/a/:x", "/a/b", True),
        ("/a/:x", "/a/b/c", False),
        ("/a/:x/c", "/a/b/c", True),
        ("/a/*/c", "/a/x/y/c", True),
        ("/a/*/c", "/a/c", True),
        ("/a/*/c", "/a/x/d", False),
        ("/a b", "/a b", True),
        ("/a%20b", "/a b", True),
        ("/ü*", "/Ü1", True),
    ],
)
def test_a_path_is_matched(pattern, path, matches):
    assert headers_of(f"{pattern}\n  X-Test: yes", path) == ({"X-Test": "yes"} if matches else {})


def test_all_blocks_that_match_apply_and_repeated_names_are_joined():
    text = "/*\n  X-A: 1\n  X-B: 1\n/a\n  x-a: 2\n  X-A: 3\n/b\n  X-A: 4\n"
    assert headers_of(text, "/a") == {"X-A": "1, 2, 3", "X-B": "1"}


def test_a_header_is_taken_away_and_may_be_set_again_after_that():
    text = "/*\n  X-A: 1\n  ! X-Content-Type-Options\n/a\n  ! X-A\n/a/b\n  ! X-A\n  X-A: 2"
    assert headers_of(text, "/a") == {"X-A": None, "X-Content-Type-Options": None}
    assert headers_of(text, "/a/b") == {"X-A": "2", "X-Content-Type-Options": None}
    assert headers_of(text, "/c") == {"X-A": "1", "X-Content-Type-Options": None}


def test_cookies_are_lines_of_their_own():
    assert headers_of("/*\n  Set-Cookie: a=1\n  Set-Cookie: b=2", "/") == {"Set-Cookie": ["a=1", "b=2"]}


def test_a_value_may_have_colons_and_a_comment_is_no_header():
    text = "# all\n/*\n  Link: <https://e.org/a>; rel=preload\n\n  # not this\n\tX-A: b"
    assert headers_of(text, "/") == {"Link": "<https://e.org/a>; rel=preload", "X-A": "b"}


@pytest.mark.parametrize(
    "line, number, why",
    [
        ("/a\n  nonsense", 2, "`Name: value`"),
        ("  X-A: b", 1, "a path goes before"),
        ("/a\n  X A: b", 2, "no name of a header"),
        ("/a\n  : b", 2, "no name of a header"),
        ("/a\n  X-A:", 2, "printable characters"),
        ("/a\n  X-A: \x07", 2, "printable characters"),
        ("/a\n  X-A: \u20ac", 2, "printable characters"),
        (f"/a\n  X-A: {'x' * 8193}", 2, "printable characters"),
        ("/a\n  Content-Length: 7", 2, "cannot be set"),
        ("/a\n  transfer-encoding: chunked", 2, "cannot be set"),
        ("/a\n  Basic-Auth: someone:secret", 2, "cannot be set"),
        ("/a\n  ! ETag", 2, "cannot be set"),
        ("/a\n  Set-Cookie: a=1; Domain=example.com", 2, "without Domain"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_left_out(line, number, why):
    compiled = compile_rules({"_headers": f"{line}\n/good\n  X-B: 1"})
    assert [block.text for block in compiled.rules.headers] == ["/good"]
    (note,) = compiled.notes
    assert note.startswith(f"_headers:{number}: ")
    assert why in note


def test_netlify_toml_says_the_same():
    text = """
[[headers]]
for = "/*"
  [headers.values]
  X-A = "1"
  Cache-Control = '''
  max-age=0,
  no-cache'''
  X-List = ["a", "b"]

[[headers]]
for = "/none"

[[headers]]
for = "/a"
values = {X-A = "2"}
"""
    compiled = compile_rules({"netlify.toml": text})
    assert [block.source for block in compiled.rules.headers] == ["netlify.toml:2", "netlify.toml:14"]
    assert compiled.notes == ["netlify.toml:11: a block of headers has a text `for` and a table `values`"]
    found = merged(Matcher(compiled.rules).blocks(Visit("/a")))
    assert found == {"X-A": ("1, 2",), "Cache-Control": ("max-age=0, no-cache",), "X-List": ("a, b",)}


def test_the_headers_of_an_answer_have_a_limit():
    text = "\n".join(f"/*\n  X-{number}: {'x' * 1000}" for number in range(40))
    found = merged(Matcher(compile_rules({"_headers": text}).rules).blocks(Visit("/")))
    assert sum(len(name) + len((values or ("",))[0]) for name, values in found.items()) <= MAX_HEADER_BYTES
    assert len(found) == 16


def test_a_pattern_with_many_stars_costs_no_more_than_its_length():
    # A backtracking matcher would take years here; RE2 is done at once.
    pattern = "/" + "*a" * 100 + "b"
    assert headers_of(f"{pattern}\n  X-A: b", "/" + "a" * 5000) == {}
