"""Regular expressions of sites' owners, by RE2: in time linear in the path, so that no site holds up another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import re2

from autostack.sites.rules.model import BadRule

MAX_MEMORY = 500_000
# RE2's time is linear in the path, but by the size of what it compiled an expression to, which repetitions multiply.
MAX_SIZE = 1_000
# What expressions grow to while they are used is counted against nothing else: so many are kept.
MAX_KEPT = 256
# The interpreter stands still while a filter is built: with so many expressions, for some ten milliseconds.
MAX_FILTERED = 250
# A filter that says that this is not in a path has run out of memory.
IN_EVERY_PATH = "/"
# What an expression takes in a filter, measured.
FILTERED_BYTES = 4_000
# RE2's filters compare in lower case, where some letters beyond ASCII get lost: they get these spelled out.
BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
ESCAPED = re.compile(r"\\x\{|\\[0-7Q]")
IGNORES_CASE = re.compile(r"\(\?[A-Za-z]*i")
NO_SLASH = "[^/]"

_options = re2.Options()
_options.log_errors = False
_options.max_mem = MAX_MEMORY


@lru_cache(maxsize=MAX_KEPT)
def compiled(regex: str) -> Any:
    """Return a compiled expression. Raises re2.error."""
    return re2.compile(regex, options=_options)


def checked(regex: str, groups: int = 0) -> str:
    """Return an expression that RE2 takes and that captures so many groups. Raises BadRule."""
    try:
        expression = re2.compile(regex, options=_options)
    except re2.error:
        raise BadRule("the pattern has an expression that cannot be evaluated in linear time") from None
    if expression.programsize > MAX_SIZE:
        raise BadRule("the pattern's expression is too large: each repetition counts as often as it repeats")
    if expression.groups != groups:
        raise BadRule("a group within a group does not capture: write (?:…)")
    return regex


class Filter:
    """Finds those of many expressions that may match a path: by the texts that they ask for, looked for all at once."""

    __slots__ = ("_always", "_parts")

    def __init__(self, expressions: Sequence[str]) -> None:
        self._always = [expression for expression in expressions if _spelled(expression) is None]
        self._parts: list[tuple[Any, list[str]]] = []
        filtered = [expression for expression in expressions if _spelled(expression) is not None]
        for start in range(0, len(filtered), MAX_FILTERED):
            self._add(filtered[start : start + MAX_FILTERED])

    def candidates(self, path: str) -> Iterator[str]:
        """Yield all expressions that match a path, and few that do not."""
        yield from self._always
        path = BEYOND_ASCII.sub(lambda found: _in_ascii(found[0]), path)
        for part, expressions in self._parts:
            found = part.Match(path, potential=True) or ()
            if len(expressions) in found:
                yield from (expressions[number] for number in found if number < len(expressions))
            else:
                yield from expressions

    def _add(self, expressions: list[str]) -> None:
        part = re2.Filter()
        try:
            for expression in (*map(_spelled, expressions), IN_EVERY_PATH):
                part.Add(expression, options=_options)
            part.Compile()
        except re2.error:
            # They ask for more text than a filter takes.
            half = len(expressions) // 2
            if half == 0:
                self._always += expressions
                return
            self._add(expressions[:half])
            self._add(expressions[half:])
        else:
            self._parts.append((part, expressions))


def _spelled(expression: str) -> str | None:
    """Return an expression in ASCII that asks for no more than the given one, None where that is not to be had."""
    if ESCAPED.search(expression):
        return None
    if expression.isascii():
        return expression
    if "[" in expression.replace(NO_SLASH, ""):
        return None
    ignores_case = IGNORES_CASE.search(expression) is not None
    return BEYOND_ASCII.sub(lambda found: _pattern_of(found[0], ignores_case), expression)


def _pattern_of(char: str, ignores_case: bool) -> str:
    return "." if ignores_case and char.lower() != char.upper() else f"(?:{_in_ascii(char)})"


def _in_ascii(char: str) -> str:
    return f"u{ord(char):x}u"
