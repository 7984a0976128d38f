"""From the files that a site's owner wrote to its rules. What is wrong in them is reported and left out."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from autostack.sites.rules import headers, netlify, vercel
from autostack.sites.rules.expressions import Filter
from autostack.sites.rules.index import pair_of
from autostack.sites.rules.model import BadRule, HeaderRule, Rule, Rules

Source = Literal["_redirects", "_headers", "netlify.toml", "vercel.json"]
T = TypeVar("T")
AnyRule = TypeVar("AnyRule", Rule, HeaderRule)

MAX_SOURCE = 4_000_000
# A manifest is parsed in one go, which no visitor is answered during.
MAX_RULES = 10_000
# Patterns without any text of their own have to be tried for each request. Nobody writes so many but to do harm.
MAX_VAGUE = 100
# They take twenty times the room in a manifest that they take in a file.
MAX_CONDITIONS = 20_000
# Of rules for one path that no index tells apart, each is looked at, and so are its conditions.
MAX_ALIKE = 1_000
MAX_NOTES = 50


@dataclass
class Compiled:
    """A deployment's rules, and what is to be said of lines that are none."""

    rules: Rules
    notes: list[str]


@dataclass
class _Reading:
    redirects: list[Rule] = field(default_factory=list)
    blocks: list[HeaderRule] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    clean_urls: bool | None = None
    trailing_slash: bool | None = None
    count: int = 0

    def attempt(self, where: str, read: Callable[..., T], *given: Any) -> T | None:
        """Return what is read, None where that is no rule or one too many."""
        self.count += 1
        return self.uncounted(where, read, *given) if self.count <= MAX_RULES else None

    def uncounted(self, where: str, read: Callable[..., T], *given: Any) -> T | None:
        """Return what is read; where that is no rule, take a note of it."""
        try:
            return read(*given)
        except BadRule as bad:
            self.notes.append(f"{where}: {bad}")
            return None

    def each(self, wheres: Sequence[str], entries: object, read: Callable[[str, object], T | None]) -> list[T]:
        """Return what is read from a list's entries."""
        if not isinstance(entries, list):
            self.notes.append(f"{wheres[0].rpartition(' ')[0]}: it should be a list")
            return []
        found = (self.attempt(where, read, where, entry) for where, entry in zip(wheres, entries, strict=False))
        return [one for one in found if one is not None]


def compile_rules(sources: Mapping[Source, str], country_header: str | None = None) -> Compiled:
    """Read a site's files by name. `country_header` is the COUNTRY_HEADER setting.

    Rules of `_redirects` go before those of netlify.toml, these before vercel.json's.
    """
    reading = _Reading()
    readers: dict[Source, Callable[[_Reading, str], None]] = {
        "_redirects": _redirects,
        "_headers": _headers,
        "netlify.toml": _toml,
        "vercel.json": _vercel,
    }
    for name, read in readers.items():
        text = sources.get(name, "")
        if len(text) > MAX_SOURCE:
            reading.notes.append(f"{name}: it has more than {MAX_SOURCE:,} characters and is left out")
        elif text.strip():
            read(reading, text.removeprefix("\ufeff"))
    redirects = _without_duplicates(reading.redirects)
    if reading.count > MAX_RULES:
        reading.notes.insert(0, f"of {reading.count:,} redirects and headers the first {MAX_RULES:,} are read")
    if country_header is None:
        _note_countries(reading, redirects)
    vague = _vague_beyond_limit([*redirects, *reading.blocks])
    redirects, blocks = _without(vague, redirects, reading), _without(vague, reading.blocks, reading)
    redirects, blocks = _bounded(redirects, reading), _bounded(blocks, reading)
    rules = Rules(tuple(redirects), tuple(blocks), reading.clean_urls, reading.trailing_slash)
    return Compiled(rules, _shortened(reading.notes))


def _redirects(reading: _Reading, text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        where = f"_redirects:{number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        rule = reading.attempt(where, netlify.read_line, where, line)
        if rule is not None:
            reading.redirects.append(rule)


def _headers(reading: _Reading, text: str) -> None:
    block: headers.Block | None = None
    blocks: list[headers.Block] = []
    for number, line in enumerate(text.split("\n"), 1):
        where, line = f"_headers:{number}", line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("/"):
            block = headers.Block(where, line)
            blocks.append(block)
        elif block is None:
            reading.notes.append(f"{where}: a path goes before the first header")
        else:
            reading.attempt(where, headers.read_header, block, line)
    for block in blocks:
        rule = reading.uncounted(block.source, block.rule)
        if rule is not None:
            reading.blocks.append(rule)


def _toml(reading: _Reading, text: str) -> None:
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reading.notes.append(f"netlify.toml: it cannot be read: {error}")
        return
    redirects, blocks = tables.get("redirects", []), tables.get("headers", [])
    reading.redirects += reading.each(_toml_places(text, "redirects", redirects), redirects, netlify.read_table)
    reading.blocks += reading.each(_toml_places(text, "headers", blocks), blocks, headers.read_table)


def _toml_places(text: str, name: str, entries: object) -> list[str]:
    """Return where the entries stand: by their lines, where each has a heading, else by their numbers."""
    count = len(entries) if isinstance(entries, list) else 1
    heading = re.compile(rf"\s*\[\[\s*[\"']?{name}[\"']?\s*\]\]")
    lines = [number for number, line in enumerate(text.split("\n"), 1) if heading.match(line)]
    if len(lines) == count:
        return [f"netlify.toml:{line}" for line in lines]
    return [f"netlify.toml: {name} {number}" for number in range(1, count + 1)]


def _vercel(reading: _Reading, text: str) -> None:
    try:
        tables = json.loads(text)
        # Half a character can be written in JSON, and nowhere else.
        json.dumps(tables, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        reading.notes.append(f"vercel.json: it cannot be read: {error}")
        return
    if not isinstance(tables, dict):
        reading.notes.append("vercel.json: it is no object")
        return
    reading.redirects += reading.each(*_vercel_entries(tables, "redirects"), vercel.read_redirect)
    reading.redirects += reading.each(*_vercel_entries(tables, "rewrites"), vercel.read_rewrite)
    reading.blocks += reading.each(*_vercel_entries(tables, "headers"), vercel.read_headers)
    if "routes" in tables:
        reading.notes.append("vercel.json: `routes` is not supported: write redirects, rewrites and headers")
    reading.clean_urls = _flag(reading, tables, "cleanUrls")
    reading.trailing_slash = _flag(reading, tables, "trailingSlash")


def _vercel_entries(tables: Mapping[str, Any], name: str) -> tuple[list[str], object]:
    entries = tables.get(name, [])
    count = len(entries) if isinstance(entries, list) else 1
    return [f"vercel.json: {name} {number}" for number in range(1, count + 1)], entries


def _flag(reading: _Reading, tables: Mapping[str, Any], name: str) -> bool | None:
    value = tables.get(name)
    if value is None or isinstance(value, bool):
        return value
    reading.notes.append(f"vercel.json: `{name}` is true or false")
    return None


def _without_duplicates(rules: list[Rule]) -> list[Rule]:
    """Leave out all but the last of rules that say the same."""
    last = {
        (rule.pattern, rule.conditions, rule.target, rule.status, rule.forced): number
        for number, rule in enumerate(rules)
    }
    return [rules[number] for number in sorted(last.values())]


def _vague_beyond_limit(rules: Sequence[Rule | HeaderRule]) -> frozenset[str]:
    """Return the expressions of patterns without a text of their own, but for the first of them."""
    expressions = list(dict.fromkeys(rule.pattern.regex for rule in rules if rule.pattern.regex))
    if len(expressions) <= MAX_VAGUE:
        return frozenset()
    vague = set(Filter(expressions).candidates("/"))
    return frozenset([expression for expression in expressions if expression in vague][MAX_VAGUE:])


def _without(expressions: frozenset[str], rules: list[AnyRule], reading: _Reading) -> list[AnyRule]:
    out = [rule for rule in rules if rule.pattern.regex in expressions]
    reading.notes += [f"{rule.source}: more than {MAX_VAGUE} paths without a fixed text are left out" for rule in out]
    return [rule for rule in rules if rule.pattern.regex not in expressions] if out else rules


def _bounded(rules: list[AnyRule], reading: _Reading) -> list[AnyRule]:
    """Leave out those that come after too many for the same path, or after too many conditions."""
    looked_at: Counter[tuple[object, ...]] = Counter()
    conditions, kept = 0, []
    for rule in rules:
        place = (rule.pattern.key, rule.pattern.regex, tuple(filter(None, map(pair_of, rule.conditions))))
        looked_at[place] += 1 + len(rule.conditions)
        conditions += len(rule.conditions)
        if looked_at[place] > MAX_ALIKE:
            reading.notes.append(
                f"{rule.source}: more than {MAX_ALIKE:,} rules and conditions for one path are left out"
            )
        elif rule.conditions and conditions > MAX_CONDITIONS:
            reading.notes.append(f"{rule.source}: more than {MAX_CONDITIONS:,} conditions are left out")
        else:
            kept.append(rule)
    return kept


def _note_countries(reading: _Reading, redirects: Sequence[Rule]) -> None:
    for rule in redirects:
        if any(condition.kind == "country" for condition in rule.conditions):
            reading.notes.append(f"{rule.source}: Country never matches: this platform is not told visitors' countries")


def _shortened(notes: list[str]) -> list[str]:
    lines = [" ".join(note.split())[:500] for note in notes[:MAX_NOTES]]
    return [*lines, f"and {len(notes) - MAX_NOTES:,} more"] if len(notes) > MAX_NOTES else lines
