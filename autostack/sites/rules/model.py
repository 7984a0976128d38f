"""Rules as the manifest keeps them: read, checked and ready to be evaluated, whichever file they were written in.

A pattern is compiled into two things. Its `key` says where an index finds it, one item a path segment: `=text` for
exactly that, `:` for any one segment, and at the end `*` for whatever follows, `^text` for a segment that begins so and
whatever follows, `$text` after `*` for a last segment. Its `regex` (RE2's syntax) captures what the target repeats, and
decides where the key says too little; None where neither is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

CAMEL_CASE = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid")
REDIRECTS = frozenset({301, 302, 303, 307, 308})
ERRORS = frozenset({404, 410})
REWRITE = 200


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which paths a rule is for. `unless` is a regex that excludes what it finds at the path's beginning."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL_CASE

    key: tuple[str, ...]
    regex: str | None = None
    names: tuple[str, ...] = ()
    unless: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """What else a request must have (or, `absent`, must not have) for a rule to match.

    A condition on a query parameter, a cookie or a header names it in `key`; it holds for any value where `values` is
    empty. One on the host, the country or the language has values only; so has one on any of several cookies, whose
    names they are.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL_CASE

    kind: Literal["query", "cookie", "header", "host", "country", "language"]
    key: str = ""
    values: tuple[str, ...] = ()
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A redirect (3xx), a rewrite to a path or to another server (200), or a file with the status 404 or 410.

    `target` alternates between text and the names of captures: `/b/`, `splat`, `.html`. `forced`: also where the site
    has a file. `captures` are query parameters that the target repeats: name in the query → name of the capture.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL_CASE

    source: str
    text: str
    pattern: Pattern
    target: tuple[str, ...]
    status: int
    forced: bool = False
    conditions: tuple[Condition, ...] = ()
    captures: dict[str, str] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        """Tell whether the target is another server's."""
        return self.target[0].startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """Headers for the paths of a pattern: those in `removed` are taken away, then those in `headers` are added."""

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL_CASE

    source: str
    text: str
    pattern: Pattern
    headers: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """All of a deployment's rules, in the order in which they are looked at.

    `clean_urls` and `trailing_slash` are vercel.json's; None is what a site gets that says nothing.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CAMEL_CASE

    redirects: tuple[Rule, ...] = ()
    headers: tuple[HeaderRule, ...] = ()
    clean_urls: bool | None = None
    trailing_slash: bool | None = None


class BadRule(ValueError):
    """Something in a file that is no rule. The message says what is wrong, for its owner."""
