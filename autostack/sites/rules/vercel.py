"""vercel.json's redirects, rewrites and headers. Its patterns are those of path-to-regexp 6."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from autostack.sites.rules.expressions import checked
from autostack.sites.rules.headers import NAME, checked_header
from autostack.sites.rules.model import REDIRECTS, REWRITE, BadRule, Condition, HeaderRule, Pattern, Rule
from autostack.sites.rules.patterns import MAX_PATTERN, quoted, segments_of
from autostack.sites.rules.targets import MAX_TARGET, checked_target

TOKEN = re.compile(
    r"\\(?P<escaped>.)|:(?P<name>[A-Za-z_]\w*)|(?P<group>\()|(?P<modifier>[?*+])"
    r"|(?P<text>(?:%[0-9A-Fa-f]{2})+|[^\\:(?*+]|:)",
    re.DOTALL,
)
LOOKAHEAD = "(?!"
REFERENCE = re.compile(r":(?P<name>[A-Za-z_]\w*)[*+?]?|\$(?P<number>\d)", re.ASCII)
PLAIN = re.compile(r"[^\\:(?*+{}]*")
PLACEHOLDER = re.compile(r":[A-Za-z_]\w*", re.ASCII)
REST = re.compile(r":[A-Za-z_]\w*\*", re.ASCII)
KINDS = {"host", "header", "cookie", "query"}


def read_redirect(source: str, entry: object) -> Rule:
    """Return the rule of an entry of `redirects`: they go before files. Raises BadRule."""
    table = _entry(entry)
    status = table.get("statusCode") or (308 if table.get("permanent", True) else 307)
    if not isinstance(status, int) or status not in REDIRECTS:
        raise BadRule(f"the status {str(status)[:20]} is not supported")
    return _rule(source, table, status, forced=True)


def read_rewrite(source: str, entry: object) -> Rule:
    """Return the rule of an entry of `rewrites`: files go before them. Raises BadRule."""
    return _rule(source, _entry(entry), REWRITE, forced=False)


def read_headers(source: str, entry: object) -> HeaderRule:
    """Return the block of an entry of `headers`. Raises BadRule."""
    table = _entry(entry)
    headers = table.get("headers")
    if not isinstance(headers, list) or not all(isinstance(header, dict) for header in headers):
        raise BadRule("`headers` is a list of objects with `key` and `value`")
    pairs = tuple(checked_header(str(header.get("key", "")), str(header.get("value", ""))) for header in headers)
    # Headers are looked for by a path in lower case, but only Netlify's are for all cases.
    pattern = vercel_pattern(table["source"], frozenset(), tells_cases_apart=False)
    pattern = replace(pattern, key=tuple(item.lower() for item in pattern.key))
    return HeaderRule(source, table["source"], pattern, pairs, (), _conditions(table))


def _entry(entry: object) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        raise BadRule("an entry is an object with a text `source`")
    return entry


def _rule(source: str, table: Mapping[str, Any], status: int, *, forced: bool) -> Rule:
    to = table.get("destination")
    if not isinstance(to, str) or len(to) > MAX_TARGET:
        raise BadRule(f"`destination` is a text of at most {MAX_TARGET:,} characters")
    references = {match["name"] or match["number"] for match in REFERENCE.finditer(to)}
    pattern = vercel_pattern(table["source"], references)
    text = f"{table['source']} {to} {status}"
    return Rule(source, text, pattern, _target(to, pattern.names), status, forced, _conditions(table))


def _target(text: str, names: Collection[str]) -> tuple[str, ...]:
    parts, position = [""], 0
    for match in REFERENCE.finditer(text):
        name = match["name"] or match["number"]
        parts[-1] += text[position : match.start()] + ("" if name in names else match[0])
        parts += [name, ""] if name in names else []
        position = match.end()
    parts[-1] += text[position:]
    return checked_target(tuple(parts))


def vercel_pattern(text: str, repeated: Collection[str], *, tells_cases_apart: bool = True) -> Pattern:
    """Compile a `source`. `repeated` are the captures that the destination has. Raises BadRule.

    `tells_cases_apart`: whether who looks for it by its key does.
    """
    if not text.startswith("/") or len(text) > MAX_PATTERN:
        raise BadRule(f"a source begins with / and has at most {MAX_PATTERN:,} characters")
    segments = segments_of(text)
    key = []
    for segment in segments:
        if PLACEHOLDER.fullmatch(segment):
            key.append(":")
        elif PLAIN.fullmatch(segment):
            key.append(f"={unquote(segment)}")
        else:
            key.append("*")
            break
    is_decided = "*" not in key or (len(key) == len(segments) and REST.fullmatch(segments[-1]) is not None)
    is_decided &= tells_cases_apart or all(item.lower() == item.upper() for item in key)
    reader = _Reader(text.removesuffix("/"))
    regex = f"(?s)^{reader.regex()}/?$"
    if is_decided and reader.unless is None and not set(reader.names) & set(repeated):
        return Pattern(tuple(key))
    return Pattern(tuple(key), checked(regex, len(reader.names)), tuple(reader.names), reader.unless)


@dataclass
class _Reader:
    """Translates a source to RE2, from left to right."""

    text: str
    names: list[str] = field(default_factory=list)
    unless: str | None = None
    _regex: str = ""

    def regex(self) -> str:
        position = 0
        while position < len(self.text):
            token = TOKEN.match(self.text, position)
            if token is None:
                raise BadRule("the pattern ends with a backslash")
            position = token.end()
            if token["name"] or token["group"]:
                position = self._capture(token, position)
            elif token["modifier"] or token["text"] in ("{", "}"):
                raise BadRule(f"{token[0]} has a meaning only after a placeholder or group")
            else:
                self._regex += quoted(token["escaped"] or unquote(token["text"]))
        return self._regex

    def _capture(self, token: re.Match[str], position: int) -> int:
        name, group = token["name"], None
        if token["group"] or self.text[position : position + 1] == "(":
            start = position if token["group"] else position + 1
            position = self._group_end(start)
            group = self._without_lookahead(self.text[start : position - 1])
        if name is None:
            name = str(len(self.names) + 1)
        modifier = self.text[position : position + 1]
        if modifier not in ("*", "+", "?") or not modifier:
            modifier = ""
        self.names.append(name)
        self._append(group or "[^/]+?", modifier)
        return position + len(modifier)

    def _append(self, expression: str, modifier: str) -> None:
        has_slash = self._regex.endswith("/")
        if not modifier or not has_slash:
            self._regex += f"((?:{expression}){modifier})"
            return
        # As in path-to-regexp, the slash before it belongs to what may be left out or repeated.
        self._regex = self._regex[:-1]
        many = f"(?:{expression})(?:/(?:{expression}))*" if modifier in "*+" else f"(?:{expression})"
        self._regex += f"/({many})" if modifier == "+" else f"(?:/({many}))?"

    def _group_end(self, start: int) -> int:
        depth, position = 1, start
        while position < len(self.text):
            char = self.text[position]
            position += 2 if char == "\\" else 1
            depth += {"(": 1, ")": -1}.get(char, 0)
            if depth == 0:
                return position
        raise BadRule("a bracket is not closed")

    def _without_lookahead(self, group: str) -> str:
        """Return a group's expression; what it must not begin with is excluded by `unless` instead."""
        if group.startswith(LOOKAHEAD):
            end = _closing(group, len(LOOKAHEAD))
            if self.unless is not None or self.names:
                raise BadRule("(?!…) can only stand once, and before every placeholder")
            self.unless = checked(f"(?s)^{self._regex}(?:{group[len(LOOKAHEAD) : end - 1]})")
            group = group[end:]
        return group


def _closing(group: str, start: int) -> int:
    return _Reader(group)._group_end(start)


def _conditions(table: Mapping[str, Any]) -> tuple[Condition, ...]:
    found = []
    for name, absent in (("has", False), ("missing", True)):
        entries = table.get(name, [])
        if not isinstance(entries, list):
            raise BadRule(f"`{name}` is a list")
        found += [_condition(entry, absent=absent) for entry in entries[:50]]
    return tuple(found)


def _condition(entry: object, *, absent: bool) -> Condition:
    if not isinstance(entry, dict) or str(entry.get("type")) not in KINDS:
        raise BadRule("a condition has the type host, header, cookie or query")
    kind, key, value = entry["type"], entry.get("key", ""), entry.get("value")
    if value is not None and (not isinstance(value, str) or re.search(r"[\\()\[\]{}*+?|^$]", value)):
        raise BadRule("the value of a condition is a plain text, not an expression")
    if not isinstance(key, str) or bool(key) is (kind == "host") or (kind == "host" and value is None):
        raise BadRule("a condition has a `key`, and one on the host a `value`")
    if kind == "header" and not NAME.fullmatch(key):
        raise BadRule(f"{key[:60]!r} is no name of a header")
    return Condition(kind, key, (value,) if value is not None else (), absent)
