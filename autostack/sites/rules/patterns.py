"""Paths with `*` and `:name`, as Netlify's files have them, compiled (see `autostack.sites.rules.model`)."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import unquote

from autostack.sites.rules.expressions import checked
from autostack.sites.rules.model import BadRule, Pattern

MAX_PATTERN = 4_096
MAX_SEGMENTS = 100
NAME = re.compile(r":([A-Za-z_]\w{0,99})", re.ASCII)
SPLAT = "splat"


def quoted(text: str) -> str:
    """Return an RE2 expression for exactly this text."""
    return "".join(
        char if char.isalnum() or char in "/_-" or ord(char) > 0x7F else f"\\x{ord(char):02x}" for char in text
    )


def segments_of(path: str) -> list[str]:
    """Return a path's segments; a slash at its end makes none."""
    return [] if path == "/" else path[1:].removesuffix("/").split("/")


def redirect_pattern(text: str, repeated: Collection[str] = ()) -> Pattern:
    """Compile the path of a redirect: `*` ends a segment, `:name` is one. Raises BadRule.

    `repeated` are the captures that its target has: without any, most patterns are decided by their key.
    """
    key: list[str] = []
    regex: list[str] = []
    names: list[str] = []
    is_open = False
    for segment in _checked(text):
        if NAME.fullmatch(segment):
            names.append(segment[1:])
            regex.append("/([^/]+)")
            item = ":"
        elif segment.startswith(":"):
            raise BadRule(f"a placeholder is a whole segment of letters, digits and _: {segment[:60]}")
        elif segment.endswith("*"):
            start = unquote(segment[:-1])
            names.append(SPLAT)
            regex.append(f"/{quoted(start)}/?(.*)" if start else "(?:/(.*))?")
            item = f"^{start}" if start else "*"
        else:
            regex.append(f"/{quoted(unquote(segment))}")
            item = f"={unquote(segment)}"
        if "*" in segment[:-1]:
            raise BadRule(f"* may only end a segment: {segment[:60]}")
        if not is_open:
            key.append(item)
        is_open = is_open or item[0] in "*^"
    return _assembled(text, key, regex, names, repeated)


def _assembled(text: str, key: list[str], regex: list[str], names: list[str], repeated: Collection[str]) -> Pattern:
    segments = segments_of(text)
    if key and key[-1] == "*" and len(key) < len(segments) and not segments[-1].startswith(":") and text[-1] != "*":
        key.append(f"${unquote(segments[-1])}")
    if len(key) == len(segments) and not set(names) & set(repeated):
        return Pattern(tuple(key))
    whole = checked(f"(?s)^{''.join(regex)}{'' if text.endswith('*') else '/?'}$", len(names))
    return Pattern(tuple(key), whole, tuple(names))


def header_pattern(text: str) -> Pattern:
    """Compile the path of a block of headers: `*` is anything anywhere, `:name` one segment; case is ignored."""
    key: list[str] = []
    regex: list[str] = []
    is_open = is_exact = False
    for segment in _checked(text):
        literal, star, rest = unquote(segment).lower().partition("*")
        if segment.startswith(":"):
            regex.append("/[^/]+")
            item = ":"
        elif segment == "*":
            regex.append("(?:/.*)?")
            item = "*"
        else:
            regex.append("/" + ".*".join(map(quoted, [literal, *rest.split("*")] if star else [literal])))
            item = f"^{literal}" if star else f"={literal}"
        if not is_open:
            key.append(item)
        is_exact = not is_open and (item[0] != "^" or (segment.count("*") == 1 and segment.endswith("*")))
        is_open = is_open or item[0] in "*^"
    if is_exact or not key:
        return Pattern(tuple(key))
    return Pattern(tuple(key), checked(f"(?is)^{''.join(regex)}/?$"))


def _checked(text: str) -> list[str]:
    if not text.startswith("/"):
        raise BadRule("a path begins with /")
    segments = segments_of(text)
    if len(text) > MAX_PATTERN or len(segments) > MAX_SEGMENTS:
        raise BadRule(f"a path has at most {MAX_PATTERN:,} characters and {MAX_SEGMENTS} segments")
    return segments
