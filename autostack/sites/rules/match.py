"""Which rule answers a request, and which headers it gets: evaluated on what `autostack.sites.rules.compile` made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote_plus

from autostack.sites.rules.expressions import FILTERED_BYTES, compiled
from autostack.sites.rules.index import Bucket, Node
from autostack.sites.rules.model import Condition, HeaderRule, Pattern, Rule, Rules
from autostack.sites.rules.patterns import segments_of

MAX_PARAMETERS = 200
# A response's headers have to fit into what browsers and CDNs read.
MAX_HEADER_BYTES = 16 * 1024
# What a request may cost, in the time that RE2 takes at the worst for a byte and an instruction: about 7 ns.
MAX_STEPS = 10_000_000
RULE_STEPS = 1_800
CONDITION_STEPS = 200


class TooMuchWork(Exception):
    """A site's rules take longer for a path than its visitors, and those of all other sites, can be kept waiting."""


class Visit:
    """What rules may look at of a request.

    `country_header` is the one that tells the visitor's country, None where none does. Unless `is_country_told`, by
    somebody who is believed, the visitor has made it up, and it is as if it were not there.

    What they did look at beside host and path is noted, by a header's name or `?` for the query: the answer holds for
    requests that agree in it.
    """

    def __init__(
        self,
        path: str,
        host: str = "",
        query: bytes = b"",
        headers: Mapping[bytes, bytes] | None = None,
        country_header: str | None = None,
        *,
        is_country_told: bool = True,
    ) -> None:
        self.path = path
        self.host = host
        self.query = query
        self.looked_at: set[str] = set()
        self._steps_left = MAX_STEPS
        self._headers = headers or {}
        self._country_header = country_header
        self._made_up = None if country_header is None or is_country_told else country_header.lower()

    @property
    def headers_looked_at(self) -> tuple[str, ...]:
        """The names of the headers among what was looked at."""
        return tuple(sorted(self.looked_at - {"?"}))

    def spend(self, steps: int) -> None:
        """Count what looking at a rule costs at the most. Raises TooMuchWork."""
        self._steps_left -= steps
        if self._steps_left < 0:
            raise TooMuchWork

    @cached_property
    def size(self) -> int:
        """The bytes of the path."""
        return len(self.path.encode())

    @cached_property
    def segments(self) -> list[str]:
        return segments_of(self.path)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The query's parameters, the first of each name."""
        parameters: dict[str, str] = {}
        for part in self.query.split(b"&", MAX_PARAMETERS)[:MAX_PARAMETERS]:
            name, _, value = part.decode("utf-8", "replace").partition("=")
            if name:
                parameters.setdefault(unquote_plus(name), unquote_plus(value))
        return parameters

    @cached_property
    def cookies(self) -> dict[str, str]:
        # A hop in front may have joined repeated headers with commas, which no cookie has in it.
        pairs = (part.strip().partition("=") for part in re.split("[;,]", self.header("cookie")))
        return {name: value for name, _, value in reversed(list(pairs)) if name}

    def header(self, name: str) -> str:
        """Return a header's value, empty if there is none."""
        name = name.lower()
        given = b"" if name == self._made_up else self._headers.get(name.encode("latin-1", "replace"), b"")
        return given.decode("latin-1").strip()

    @cached_property
    def language(self) -> str:
        """The language that the visitor likes best."""
        weighed = (_weighed_language(member) for member in self.header("accept-language").lower().split(","))
        return max(weighed, key=lambda one: one[0], default=(0.0, ""))[1]

    def holds(self, condition: Condition) -> bool:
        """Tell whether the request has what a condition asks for."""
        return self._has(condition) is not condition.absent

    def _has(self, condition: Condition) -> bool:
        kind, values = condition.kind, condition.values
        if kind == "host":
            return self.host in values
        if kind == "language":
            self.looked_at.add("Accept-Language")
            return any(self.language == value or self.language.startswith(f"{value}-") for value in values)
        if kind == "country":
            return self._is_from(values)
        if kind == "cookie" and not condition.key:
            self.looked_at.add("Cookie")
            return any(name in self.cookies for name in values)
        given = self._given(condition)
        return given is not None and (not values or given in values)

    def _is_from(self, countries: tuple[str, ...]) -> bool:
        if self._country_header is None:
            return False
        self.looked_at.add(self._country_header)
        return self.header(self._country_header).lower() in countries

    def _given(self, condition: Condition) -> str | None:
        if condition.kind == "query":
            self.looked_at.add("?")
            return self.parameters.get(condition.key)
        if condition.kind == "cookie":
            self.looked_at.add("Cookie")
            return self.cookies.get(condition.key)
        self.looked_at.add(condition.key)
        return self.header(condition.key) or None


def _weighed_language(member: str) -> tuple[float, str]:
    name, _, parameters = member.strip().partition(";")
    try:
        weight = float(parameters.partition("q=")[2] or 1)
    except ValueError:
        weight = 0.0
    return weight, name.strip()


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that answers, and what its target repeats of the request."""

    rule: Rule
    captures: Mapping[str, str]


class Matcher:
    """A deployment's rules, indexed."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._forced, self._others, self._headers = Node(), Node(), Node()
        for number, rule in enumerate(rules.redirects):
            (self._forced if rule.forced else self._others).add(number, rule.pattern, rule.conditions)
        for number, block in enumerate(rules.headers):
            self._headers.add(number, block.pattern, block.conditions)
        roots = (self._forced, self._others, self._headers)
        # What RE2 takes for them beside the rules themselves.
        self.expressions_bytes = FILTERED_BYTES * sum(root.finish() for root in roots)
        self.has_forced = any(rule.forced for rule in rules.redirects)
        self.has_others = any(not rule.forced for rule in rules.redirects)

    def matches(self, visit: Visit, *, forced: bool) -> Iterator[Match]:
        """Yield the rules with (or without) `!` that match, in their order. Raises TooMuchWork."""
        if not (self.has_forced if forced else self.has_others):
            return
        for number in self.candidates(visit, forced=forced):
            rule = self._rules.redirects[number]
            captures = _captures(rule, visit)
            if captures is not None:
                repeated = {name: visit.parameters.get(key, "") for key, name in rule.captures.items()}
                yield Match(rule, {**repeated, **captures})

    def candidates(self, visit: Visit, *, forced: bool = False) -> list[int]:
        """Return the numbers of the rules that are looked at for a visit: few, however many there are."""
        return _candidates(self._forced if forced else self._others, visit.segments, visit)

    def blocks(self, visit: Visit) -> list[HeaderRule]:
        """Return all blocks of headers that match, in their order. Raises TooMuchWork."""
        if not self._rules.headers:
            return []
        numbers = _candidates(self._headers, segments_of(visit.path.lower()), visit)
        blocks = (self._rules.headers[number] for number in numbers)
        return [block for block in blocks if _captures(block, visit) is not None]


def _candidates(root: Node, segments: list[str], visit: Visit) -> list[int]:
    return sorted(number for bucket in root.buckets(segments) for number in _numbers(bucket, visit))


def _numbers(bucket: Bucket, visit: Visit) -> Iterator[int]:
    yield from bucket.numbers(visit.path)
    if bucket.by_query:
        visit.looked_at.add("?")
        for pair in visit.parameters.items():
            if pair in bucket.by_query:
                yield from _numbers(bucket.by_query[pair], visit)


def _captures(rule: Rule | HeaderRule, visit: Visit) -> Mapping[str, str] | None:
    """Return what a rule captures of a visit's path, None if it does not match."""
    visit.spend(RULE_STEPS + CONDITION_STEPS * len(rule.conditions))
    captures = _captures_of_path(rule.pattern, visit)
    return captures if captures is not None and all(map(visit.holds, rule.conditions)) else None


def _captures_of_path(pattern: Pattern, visit: Visit) -> Mapping[str, str] | None:
    if pattern.unless is not None and _expression(pattern.unless, visit).match(visit.path):
        return None
    if pattern.regex is None:
        return {}
    found = _expression(pattern.regex, visit).fullmatch(visit.path)
    if found is None:
        return None
    # Of captures with one name, the first counts.
    return {name: text or "" for name, text in zip(reversed(pattern.names), reversed(found.groups()), strict=True)}


def _expression(regex: str, visit: Visit) -> Any:
    expression = compiled(regex)
    visit.spend(expression.programsize * visit.size)
    return expression


def merged(blocks: Iterable[HeaderRule]) -> dict[str, tuple[str, ...] | None]:
    """Return the headers of matching blocks by name: their lines' values, None for one that is taken away.

    A name that is repeated has its values joined, but for cookies, which are lines of their own.
    """
    headers: dict[str, tuple[str, ...] | None] = {}
    spellings: dict[str, str] = {}
    left = MAX_HEADER_BYTES
    for block in blocks:
        for name in block.removed:
            headers[spellings.setdefault(name.lower(), name)] = None
        for name, value in block.headers:
            left -= len(name) + len(value) + 4
            if left < 0:
                return headers
            spelling = spellings.setdefault(name.lower(), name)
            before = headers.get(spelling) or ()
            headers[spelling] = (
                (*before, value) if name.lower() == "set-cookie" or not before else (f"{before[0]}, {value}",)
            )
    return headers
