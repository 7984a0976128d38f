"""Finds the rules that may match a path, without looking at the others: a trie over the patterns' keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autostack.sites.rules.expressions import Filter
from autostack.sites.rules.model import Condition, Pattern

# Fewer expressions are looked at one by one.
FEW = 16
# A literal value that a query parameter must have: (name, value).
Pair = tuple[str, str]


def pair_of(condition: Condition) -> Pair | None:
    """Return what a rule with this condition is found by, None where it has to be looked at."""
    if condition.kind == "query" and len(condition.values) == 1 and not condition.absent:
        return condition.key, condition.values[0]
    return None


class Bucket:
    """The rules of one place in the trie. Where many differ by a parameter of the query only, that finds them; where
    many differ by their expression, a filter does."""

    __slots__ = ("_by_regex", "_filter", "by_query", "plain")

    def __init__(self) -> None:
        self.plain: list[int] = []
        self.by_query: dict[Pair, Bucket] = {}
        self._by_regex: dict[str, list[int]] = {}
        self._filter: Filter | None = None

    def add(self, number: int, regex: str | None, conditions: Sequence[Condition]) -> None:
        """Add a rule by its pattern's expression and its conditions."""
        for position, condition in enumerate(conditions):
            if pair := pair_of(condition):
                self.by_query.setdefault(pair, Bucket()).add(number, regex, conditions[position + 1 :])
                return
        if regex is None:
            self.plain.append(number)
        else:
            self._by_regex.setdefault(regex, []).append(number)

    def finish(self) -> int:
        """Build what finds expressions. Returns how many it holds."""
        if len(self._by_regex) > FEW:
            self._filter = Filter(list(self._by_regex))
        held = len(self._by_regex) if self._filter else 0
        return held + sum(bucket.finish() for bucket in self.by_query.values())

    def numbers(self, path: str) -> Iterator[int]:
        """Yield the rules that may match a path, whatever its query."""
        yield from self.plain
        for regex in self._by_regex if self._filter is None else self._filter.candidates(path):
            yield from self._by_regex[regex]


class Node:
    """What can follow after some segments."""

    __slots__ = ("any", "end", "following", "last", "literal", "prefixes")

    def __init__(self) -> None:
        self.literal: dict[str, Node] = {}
        self.any: Node | None = None
        self.end: Bucket | None = None
        self.following: Bucket | None = None
        self.last: dict[str, Bucket] = {}
        # By their length first: those of a segment are found by as many look-ups as there are lengths.
        self.prefixes: dict[int, dict[str, Bucket]] = {}

    def add(self, number: int, pattern: Pattern, conditions: Sequence[Condition]) -> None:
        """Add a rule by its pattern's key."""
        node, key = self, pattern.key
        for position, item in enumerate(key):
            kind, text = item[0], item[1:]
            if kind == "=":
                node = node.literal.setdefault(text, Node())
            elif kind == ":":
                node.any = node = node.any or Node()
            else:
                node._open_bucket(kind, text, key[position + 1 :]).add(number, pattern.regex, conditions)
                return
        node.end = node.end or Bucket()
        node.end.add(number, pattern.regex, conditions)

    def _open_bucket(self, kind: str, text: str, after: Sequence[str]) -> Bucket:
        if kind == "^":
            return self.prefixes.setdefault(len(text), {}).setdefault(text, Bucket())
        if after:
            return self.last.setdefault(after[0][1:], Bucket())
        self.following = self.following or Bucket()
        return self.following

    def finish(self) -> int:
        """Build what finds expressions, once all rules are there. Returns how many it holds."""
        held = sum(bucket.finish() for bucket in self._own_buckets())
        following = (*self.literal.values(), self.any)
        return held + sum(node.finish() for node in following if node is not None)

    def _own_buckets(self) -> Iterator[Bucket]:
        yield from (bucket for bucket in (self.end, self.following) if bucket is not None)
        yield from self.last.values()
        for starts in self.prefixes.values():
            yield from starts.values()

    def buckets(self, segments: Sequence[str]) -> list[Bucket]:
        """Return the rules that may match a path of these segments, and only few that do not."""
        found: list[Bucket] = []
        nodes = [self]
        for segment in segments:
            following: list[Node] = []
            for node in nodes:
                node._collect(segment, segments[-1], found)
                if segment in node.literal:
                    following.append(node.literal[segment])
                if node.any is not None and segment:
                    following.append(node.any)
            nodes = following
            if not nodes:
                return found
        for node in nodes:
            found += [bucket for bucket in (node.end, node.following) if bucket is not None]
        return found

    def _collect(self, segment: str, last: str, found: list[Bucket]) -> None:
        if self.following is not None:
            found.append(self.following)
        if self.last and last in self.last:
            found.append(self.last[last])
        for length, starts in self.prefixes.items():
            bucket = starts.get(segment[:length])
            if bucket is not None:
                found.append(bucket)
