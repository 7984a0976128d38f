"""The rules of a site cost its visitors, and all others, a bounded time: what would not is left out, and said."""

from __future__ import annotations

import json
import random

import pytest

from autostack.sites.rules.compile import MAX_ALIKE, MAX_CONDITIONS, MAX_NOTES, compile_rules
from autostack.sites.rules.match import Matcher, TooMuchWork, Visit
from autostack.sites.rules.model import HeaderRule, Pattern, Rule, Rules

LONG = "/" + "".join(random.Random(1).choices("ab", k=8_000))


def rewrites(*sources: str) -> str:
    return json.dumps({"rewrites": [{"source": source, "destination": "/x"} for source in sources]})


def found(rules: Rules, path: str) -> list[str]:
    return [match.rule.source for match in Matcher(rules).matches(Visit(path), forced=False)]


@pytest.mark.parametrize("large", [".*(?:a.{0,900}|b.{0,900})c", "(?:.*a.{0,60}){15}c", "[ab]{0,900}c"])
def test_an_expression_that_repetitions_make_large_is_reported_and_left_out(large: str) -> None:
    compiled = compile_rules({"vercel.json": rewrites(f"/({large})", "/ok/(\\d{1,8})")})
    assert [rule.text for rule in compiled.rules.redirects] == ["/ok/(\\d{1,8}) /x 200"]
    assert compiled.notes == [
        "vercel.json: rewrites 1: the pattern's expression is too large: each repetition counts as often as it repeats"
    ]


@pytest.mark.parametrize(
    "ordinary",
    [
        "/:lang(en|de|fr|es|it|pt|nl|pl|cs|sv|da|fi)/:path*",
        "/((?!api/|_next/|static/).*)",
        "/:year(\\d{4})-:month(\\d{2})",
    ],
)
def test_what_people_write_is_not_large(ordinary: str) -> None:
    assert compile_rules({"vercel.json": rewrites(ordinary)}).notes == []


def test_of_rules_for_one_path_that_no_index_tells_apart_so_many_are_kept() -> None:
    lines = [f"/* /x{number} 302 Cookie=c{number}" for number in range(MAX_ALIKE)]
    compiled = compile_rules({"_redirects": "\n".join([*lines, "/elsewhere /x"])})
    # Each counts with its condition.
    assert len(compiled.rules.redirects) == MAX_ALIKE // 2 + 1
    assert compiled.rules.redirects[-1].text == "/elsewhere /x"
    first_left_out = f"_redirects:{MAX_ALIKE // 2 + 1}: more than 1,000 rules and conditions for one path are left out"
    assert compiled.notes[0] == first_left_out
    assert len(compiled.notes) == MAX_NOTES + 1


def test_a_country_each_are_not_too_many() -> None:
    lines = [f"/* /{a}{b} 302 Country={a}{b}" for a in "abcdefghijklmnop" for b in "abcdefghijklmnop"]
    compiled = compile_rules({"_redirects": "\n".join(lines)}, "X-Country")
    assert (len(compiled.rules.redirects), compiled.notes) == (256, [])


def test_what_a_parameter_of_the_query_tells_apart_may_be_ten_thousand() -> None:
    compiled = compile_rules({"_redirects": "\n".join(f"/p id={number} /x{number}" for number in range(10_000))})
    assert (len(compiled.rules.redirects), compiled.notes) == (10_000, [])


def test_conditions_are_bounded_as_rules_are() -> None:
    many = " ".join(f"n{number}=" for number in range(40))
    compiled = compile_rules(
        {"_redirects": "\n".join(f"/p{number} {many} /x" for number in range(501)) + "\n/without /x"}
    )
    assert len(compiled.rules.redirects) == MAX_CONDITIONS // 40 + 1
    assert compiled.notes == ["_redirects:501: more than 20,000 conditions are left out"]


def test_rules_that_together_take_too_long_for_a_path_are_not_looked_through_to_the_end() -> None:
    rules = tuple(
        Rule(f"{number}", "", Pattern(("*",), f"(?s)^/.*a.{{0,400}}[^ab]{{{number}}}$"), ("/x",), 200)
        for number in range(1, 60)
    )
    assert found(Rules(rules), "/short") == []
    with pytest.raises(TooMuchWork):
        found(Rules(rules), LONG)


def test_nor_are_blocks_of_headers() -> None:
    blocks = tuple(
        HeaderRule(f"{number}", "/*", Pattern(("*",), f"(?s)^/.*a.{{0,400}}[^ab]{{{number}}}$"), (("A", "b"),))
        for number in range(1, 60)
    )
    with pytest.raises(TooMuchWork):
        Matcher(Rules((), blocks)).blocks(Visit(LONG))
