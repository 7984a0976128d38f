"""Many rules that only an expression tells apart: which of them are looked at, and that none is missed."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from autostack.proxy.manifests import _parse
from autostack.sites.rules.compile import MAX_VAGUE, compile_rules
from autostack.sites.rules.expressions import MAX_FILTERED, Filter, compiled
from autostack.sites.rules.index import FEW
from autostack.sites.rules.match import Matcher, Visit
from tests.sites import make_manifest

MANY = 2_000


def vercel(source: str) -> dict[str, str]:
    rewrites = [{"source": source.format(number), "destination": "/x/:id"} for number in range(MANY)]
    return {"vercel.json": json.dumps({"rewrites": rewrites})}


def lines(line: str) -> str:
    return "\n".join(line.format(number) for number in range(MANY))


@pytest.mark.parametrize(
    "sources, path, found",
    [
        ({"_redirects": lines("/*/a{}/:id /b/:id")}, "/x/a77/z", 77),
        ({"_redirects": lines("/*/é{}/:id /b/:id")}, "/x/é77/z", 77),
        ({"_redirects": lines("/*/a{}/* /b/:splat")}, "/x/a77/y/z", 77),
        ({"_redirects": lines("/*/products/:id/v{} /b/:id")}, "/x/products/1/v77", 77),
        ({"_redirects": lines("/*/a{}/:id x=1 /b/:id")}, "/x/a77/z", 77),
        (vercel("/p{}-:id(\\d+)"), "/p77-5", 77),
        (vercel("/:id(\\d+)-p{}"), "/5-p77", 77),
    ],
)
def test_of_many_expressions_those_are_looked_at_whose_texts_a_path_has(sources, path, found):
    matcher = Matcher(compile_rules(sources).rules)
    visit = Visit(path, query=b"x=1")
    assert len(matcher.candidates(visit)) <= 5
    (match, *_) = matcher.matches(visit, forced=False)
    assert match.rule.pattern == matcher._rules.redirects[found].pattern
    assert len(matcher.candidates(Visit("/x/y/z", query=b"x=1"))) <= 1


def test_so_are_blocks_of_headers_whatever_the_case():
    matcher = Matcher(compile_rules({"_headers": lines("/*-a{}*\n  X-A: b")}).rules)
    compiled.cache_clear()
    assert [block.text for block in matcher.blocks(Visit("/x/y-A1500z"))] == [
        f"/*-a{number}*" for number in (1, 15, 150, 1500)
    ]
    assert compiled.cache_info().misses == 4


def test_texts_that_are_too_long_for_one_filter_are_divided():
    texts = [f"{number:04}" + "xyz" * 1_300 for number in range(MAX_FILTERED)]
    found = Filter([f"^/.*{text}$" for text in texts])
    assert list(found.candidates(f"/a{texts[7]}")) == [f"^/.*{texts[7]}$"]
    assert len(found._parts) > 1


def test_an_expression_that_a_filter_does_not_take_is_always_looked_at():
    repeated = f"(?s)^/(?:{10 * '中'}){{1000}}$"
    found = Filter([repeated, "(?s)^/a/b$"])
    assert set(found.candidates("/a/b")) == {repeated, "(?s)^/a/b$"}
    assert list(found.candidates("/x")) == [repeated]


def test_of_paths_without_a_fixed_text_only_so_many_are_kept():
    entries = [{"source": f"/:x(\\d{{{number}}})", "destination": "/x"} for number in range(1, MAX_VAGUE + 3)]
    entries.append({"source": "/p-:x(\\d+)", "destination": "/y"})
    compiled = compile_rules({"vercel.json": json.dumps({"rewrites": entries})})
    assert [rule.source for rule in compiled.rules.redirects[-2:]] == [
        f"vercel.json: rewrites {MAX_VAGUE}",
        f"vercel.json: rewrites {MAX_VAGUE + 3}",
    ]
    assert compiled.notes == [
        f"vercel.json: rewrites {MAX_VAGUE + past}: more than {MAX_VAGUE} paths without a fixed text are left out"
        for past in (1, 2)
    ]


def test_a_text_in_any_script_is_a_fixed_text():
    texts = [f"/:x/{chr(0x4E00 + number)}{chr(0x4E01 + number)} /b/:x" for number in range(2 * MAX_VAGUE)]
    compiled = compile_rules({"_redirects": "\n".join(texts)})
    assert compiled.notes == []
    assert len(compiled.rules.redirects) == len(texts)
    found = Filter([rule.pattern.regex for rule in compiled.rules.redirects])
    assert len(list(found.candidates("/x/\u4e07\u4e08"))) <= 2


def test_what_filters_hold_is_counted():
    few = Matcher(compile_rules({"_redirects": "\n".join(lines("/*/a{}/:id /b/:id").split("\n")[:FEW])}).rules)
    many = Matcher(compile_rules({"_redirects": lines("/*/a{}/:id /b/:id")}).rules)
    assert few.expressions_bytes == 0
    assert many.expressions_bytes >= 1_000 * MANY


def test_a_manifest_with_many_rules_is_ready_when_it_is_read():
    rules = compile_rules({"_redirects": lines("/*/a{}/:id /b/:id")}).rules
    manifest = asyncio.run(_parse(make_manifest([], rules=rules).to_json()))
    assert "matcher" in vars(manifest)


ODD = "u中aAkK\u212asSſiIıİßẞéÉΣσς-./"
PIECE = st.sampled_from(
    [
        *map(re.escape, ODD),
        ".*",
        "[ab]",
        "(?:ab|k)",
        "a+",
        "s?",
        "[^/]+",
        r"\d",
        r"\x{130}",
        r"\460",
        "(?i:é)",
        "(?i:ß)",
        r"\Qé\E",
        "é+",
        "[]é]",
    ]
)
EXPRESSION = st.tuples(st.sampled_from(["(?s)^/", "(?is)^/"]), st.lists(PIECE, max_size=5)).map(
    lambda parts: parts[0] + "".join(parts[1]) + "/?$"
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(EXPRESSION, min_size=1, max_size=20, unique=True),
    st.lists(st.text(ODD + "b1", max_size=6).map(lambda text: f"/{text}"), min_size=1, max_size=20),
)
def test_a_filter_misses_no_expression_that_matches(expressions, paths):
    found = Filter(expressions)
    for path in paths:
        matching = {expression for expression in expressions if re2.fullmatch(expression, path)}
        assert matching <= set(found.candidates(path)), path
