"""Netlify's redirects: the lines of `_redirects`, and `[[redirects]]` of netlify.toml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from autostack.sites.rules.model import ERRORS, REDIRECTS, REWRITE, BadRule, Condition, Rule
from autostack.sites.rules.patterns import NAME, redirect_pattern
from autostack.sites.rules.targets import PLACEHOLDER, is_url, parse_target

MAX_LINE = 16_384
MAX_CONDITIONS = 50
STATUS = re.compile(r"(\d{3})(!?)")
PLATFORM = "/.autostack"


@dataclass(frozen=True)
class Given:
    """A redirect as it was written, in whichever file."""

    source: str
    text: str
    path: str
    to: str | None = None
    status: int = 301
    forced: bool = False
    query: Mapping[str, str | None] = field(default_factory=dict)
    conditions: Sequence[tuple[str, Sequence[str]]] = ()


def read_line(source: str, line: str) -> Rule | None:
    """Return the rule of a line of `_redirects`, None for a blank line or a comment. Raises BadRule."""
    if len(line) > MAX_LINE:
        raise BadRule(f"a line has at most {MAX_LINE:,} characters")
    words = line.split()
    words = words[: next((index for index, word in enumerate(words) if word.startswith("#")), None)]
    if not words:
        return None
    path, *rest = words
    if rest and STATUS.fullmatch(rest[0]):
        return make_rule(Given(source, " ".join(words), path, None, *_status(rest[0]), {}, _conditions(rest[1:])))
    to_index = next((index for index, word in enumerate(rest) if word.startswith("/") or is_url(word)), None)
    if to_index is None:
        raise BadRule("there is no target that begins with /, http:// or https://")
    query = {name: value if mark else None for name, mark, value in (word.partition("=") for word in rest[:to_index])}
    status, forced, after = 301, False, rest[to_index + 1 :]
    if after and "=" not in after[0]:
        (status, forced), after = _status(after[0]), after[1:]
    given = Given(source, " ".join(words), path, rest[to_index], status, forced, query, _conditions(after))
    return make_rule(given)


def read_table(source: str, table: object) -> Rule:
    """Return the rule of one of netlify.toml's `[[redirects]]`. Raises BadRule."""
    if not isinstance(table, dict):
        raise BadRule("a redirect is a table")
    path, to = _text(table, "from"), _text(table, "to")
    if path is None:
        raise BadRule("`from` is missing")
    if table.get("signed") or table.get("headers"):
        raise BadRule("`signed` and `headers` are not supported")
    status, forced = table.get("status", 301), table.get("force", False)
    if not isinstance(status, int) or not isinstance(forced, bool):
        raise BadRule("`status` is a number, `force` is true or false")
    query = {str(name): str(value) for name, value in _table(table, "query").items()}
    conditions = [(name, _texts(values)) for name, values in _table(table, "conditions").items()]
    text = " ".join([path, *(f"{name}={value}" for name, value in query.items()), to or "", str(status)])
    return make_rule(Given(source, text + "!" * forced, path, to, status, forced, query, conditions))


def make_rule(given: Given) -> Rule:
    """Check and compile a redirect. Raises BadRule."""
    if given.status != REWRITE and given.status not in REDIRECTS | ERRORS:
        raise BadRule(f"the status {given.status} is not supported")
    host, path = _split_from(given.path)
    if path == PLATFORM or path.startswith(f"{PLATFORM}/"):
        raise BadRule(f"paths under {PLATFORM}/ are the platform's")
    to = given.to if given.to is not None else _forwarded(path, given.status)
    captures = {key: value[1:] for key, value in given.query.items() if value and NAME.fullmatch(value)}
    pattern = redirect_pattern(path, PLACEHOLDER.findall(to))
    target = parse_target(to, {*pattern.names, *captures.values()})
    if is_url(to) and given.status in ERRORS:
        raise BadRule(f"with the status {given.status} the target is a file of the site")
    conditions = [*_host(host), *_query(given.query, captures), *map(_condition, given.conditions)]
    if len(conditions) > MAX_CONDITIONS:
        raise BadRule(f"a rule has at most {MAX_CONDITIONS} conditions")
    repeated = {key: name for key, name in captures.items() if name in target[1::2]}
    return Rule(given.source, given.text, pattern, target, given.status, given.forced, tuple(conditions), repeated)


def _status(word: str) -> tuple[int, bool]:
    match = STATUS.fullmatch(word)
    if match is None:
        raise BadRule(f"{word[:60]!r} is no status")
    return int(match[1]), bool(match[2])


def _conditions(words: Iterable[str]) -> list[tuple[str, Sequence[str]]]:
    pairs = [word.partition("=") for word in words]
    return [(name, value.split(",") if mark else ()) for name, mark, value in pairs]


def _condition(given: tuple[str, Sequence[str]]) -> Condition:
    name, values = given
    kind = name.lower()
    wanted = tuple(value.strip().lower() for value in values if value.strip())
    if not wanted:
        raise BadRule(f"the condition {name[:60]} has no value")
    if kind == "country":
        return Condition("country", values=wanted)
    if kind == "language":
        return Condition("language", values=wanted)
    if kind == "cookie":
        return Condition("cookie", values=tuple(value.strip() for value in values if value.strip()))
    raise BadRule(f"the condition {name[:60]!r} is not supported")


def _host(host: str | None) -> list[Condition]:
    return [Condition("host", values=(host,))] if host else []


def _query(query: Mapping[str, str | None], captures: Mapping[str, str]) -> list[Condition]:
    conditions = []
    for name, value in query.items():
        if not name:
            raise BadRule("a query parameter has no name")
        conditions.append(Condition("query", name, () if value is None or name in captures else (value,)))
    return conditions


def _split_from(text: str) -> tuple[str | None, str]:
    """Return host and path of what a rule is from: mostly a path only."""
    if not is_url(text):
        return None, text
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = None
    if parts is None or not parts.hostname:
        raise BadRule(f"{text[:60]!r} is no address")
    return parts.hostname, parts.path or "/"


def _forwarded(path: str, status: int) -> str:
    if not path.endswith("/*") or status != REWRITE:
        raise BadRule("the target may be left out only for a path that ends in /* with the status 200")
    return f"{path[:-1]}:splat"


def _text(table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRule(f"`{name}` is text")
    return value


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise BadRule(f"`{name}` is a table")
    return value


def _texts(values: object) -> list[str]:
    given = values if isinstance(values, list) else [values]
    if not all(isinstance(value, str) for value in given):
        raise BadRule("the values of a condition are texts")
    return [part for value in given for part in str(value).split(",")]
