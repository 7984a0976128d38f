"""The matcher against a slow, obvious one: every rule in turn, every way to divide the path. And against nonsense."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qsl

from hypothesis import given, settings
from hypothesis import strategies as st

from autostack.proxy.negotiation import read_accepts
from autostack.proxy.own_headers import Extras
from autostack.proxy.resolve import Remote, resolve
from autostack.proxy.respond import prepare
from autostack.sites.manifest import Manifest
from autostack.sites.rules.compile import compile_rules
from autostack.sites.rules.match import Matcher, Visit, merged
from tests.sites import make_manifest

Captures = dict[str, str]


def divisions(pattern: list[str], path: list[str]) -> Iterator[list[tuple[str, str]]]:
    """Yield what each placeholder and star of a pattern stands for, longest first; nothing where it does not match."""
    if not pattern:
        # One slash at the end does not count.
        if path in ([], [""]):
            yield []
        return
    first, *rest = pattern
    if first.startswith(":"):
        if path and path[0]:
            yield from ([(first[1:], path[0]), *more] for more in divisions(rest, path[1:]))
    elif first.endswith("*"):
        start = first[:-1]
        if start and not (path and path[0].startswith(start)):
            return
        begun = [path[0].removeprefix(start)] if start else []
        following = path[1:] if start else path
        for count in range(len(following), -1, -1):
            parts = [*begun, *following[:count]]
            splat = "/".join(parts[1:] if parts and parts[0] == "" and begun else parts)
            yield from ([("splat", splat), *more] for more in divisions(rest, following[count:]))
    elif path and path[0] == first:
        yield from divisions(rest, path[1:])


def reference(lines: list[str], path: str, query: str) -> tuple[int, Captures] | None:
    """Return the number of the first line that matches, and what it captures."""
    given: Captures = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        given.setdefault(name, value)
    for number, line in enumerate(lines, 1):
        pattern, *pairs, _ = line.split()
        found = next(divisions([part for part in pattern.split("/") if part], path[1:].split("/")), None)
        wanted = dict(pair.split("=") for pair in pairs)
        if found is None or any(name not in given for name in wanted):
            continue
        if any(not value.startswith(":") and given[name] != value for name, value in wanted.items()):
            continue
        captures = {value[1:]: given[name] for name, value in wanted.items() if value.startswith(":")}
        return number, captures | dict(reversed(found))
    return None


WORD = st.sampled_from(["a", "b", "ab", "abc", "c.html"])
SEGMENT = WORD | st.sampled_from([":x", ":y", "*", "a*", "ab*", ":splat"])
PATTERN = st.lists(SEGMENT, max_size=4).map(lambda parts: "/" + "/".join(parts))
PAIR = st.tuples(st.sampled_from("kl"), st.sampled_from(["1", "2", ":q", ":x"])).map("=".join)
PAIRS = st.lists(PAIR, max_size=2, unique_by=lambda pair: pair[0])
LINE = st.tuples(PATTERN, PAIRS).map(lambda rule: " ".join([rule[0], *rule[1], "/to/:x/:y/:splat/:q"]))
PATH = st.lists(WORD | st.just(""), max_size=5).map(lambda parts: "/" + "/".join(parts))
QUERY = st.lists(st.tuples(st.sampled_from("klm"), st.sampled_from("123")).map("=".join), max_size=3).map("&".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=12, unique=True), st.lists(PATH, min_size=1, max_size=5), QUERY)
def test_the_index_finds_the_same_rule_as_looking_at_each(lines, paths, query):
    compiled = compile_rules({"_redirects": "\n".join(lines)})
    assert compiled.notes == []
    matcher = Matcher(compiled.rules)
    for path in paths:
        found = next(matcher.matches(Visit(path, query=query.encode()), forced=False), None)
        expected = reference(lines, path, query)
        ours = found and (int(found.rule.source.rpartition(":")[2]), dict(found.captures))
        assert ours == expected, path


def glob(pattern: str, path: str) -> bool:
    """Tell whether a pattern of headers matches: a star is anything, character by character."""
    if not pattern:
        return path in ("", "/")
    if pattern.startswith("/*/") or pattern == "/*":
        rest = pattern[2:]
        return glob(rest, path) or any(glob(rest, path[end:]) for end in range(1, len(path) + 1) if path[0] == "/")
    if pattern.startswith("*"):
        return any(glob(pattern[1:], path[end:]) for end in range(len(path) + 1))
    if pattern.startswith("/:"):
        after = len("/:x")
        ends = (end for end in range(2, len(path) + 1) if path[0] == "/" and "/" not in path[1:end])
        return any(glob(pattern[after:], path[end:]) for end in ends)
    return bool(path) and pattern[0].lower() == path[0].lower() and glob(pattern[1:], path[1:])


HEADER_SEGMENT = st.sampled_from(["a", "A", "ab", ":x", "*", "a*", "*b", "a*b*c", "*.js"])
HEADER_PATTERN = st.lists(HEADER_SEGMENT, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
HEADER_PATH = st.lists(st.sampled_from(["a", "B", "ab", "axbyc", "x.js", ""]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(HEADER_PATTERN, min_size=1, max_size=8), HEADER_PATH)
def test_the_blocks_of_headers_are_those_that_match_one_by_one(patterns, path):
    text = "\n".join(f"{pattern}\n  X-A: b" for pattern in patterns)
    blocks = Matcher(compile_rules({"_headers": text}).rules).blocks(Visit(path))
    expected = [pattern for pattern in patterns if glob(pattern, path)]
    assert [block.text for block in blocks] == expected


WORDS = """
/ * : :x a # = ! 200 301 404 http:// [ ] ( ) (?! ? + \\ { } %2F % $1 @ , Language= Country=de X-A:b ü . ..
"""
TOKEN = st.sampled_from([*WORDS.split(), " ", "\n", "\t", "\x1b"])
NONSENSE = st.lists(TOKEN, max_size=25).map("".join)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | NONSENSE | NONSENSE.map(lambda text: f"/{text}"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["source", "destination", "headers", "key", "value", "has", "missing", "type", "statusCode"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
VERCEL = st.dictionaries(
    st.sampled_from(["redirects", "rewrites", "headers", "cleanUrls", "routes"]), VALUE, max_size=4
)


@settings(max_examples=100, deadline=None)
@given(NONSENSE, NONSENSE, VERCEL, st.lists(TOKEN, max_size=6).map("".join))
def test_nonsense_is_reported_and_never_raises(redirects, headers, vercel, path):
    sources = {
        "_redirects": redirects,
        "_headers": headers,
        "netlify.toml": redirects,
        "vercel.json": json.dumps(vercel),
    }
    compiled = compile_rules(sources)
    manifest = Manifest.from_json(make_manifest(["/a", "/a.html"], rules=compiled.rules).to_json())
    visit = Visit(f"/{path}", query=b"x=1&x")
    decision = resolve(manifest, visit, takes_html=True)
    extras = Extras(merged(manifest.matcher.blocks(visit)), visit.headers_looked_at)
    if not isinstance(decision, Remote):
        head = prepare(decision, read_accepts(None, None), False, extras).head
        assert all(line.count(b"\n") == 0 for line in head.split(b"\r\n"))
