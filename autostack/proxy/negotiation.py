"""What the headers of a request ask for, read as RFC 9110 has it: encodings, ranges, conditions, types."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

# The server's preference among those that the client likes equally.
ENCODINGS = ("zstd", "br", "gzip")
ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
RANGE = re.compile(r"(\d{1,18})-(\d{0,18})|-(\d{1,18})")
MAX_RANGES = 16
# Browsers send about 200. To read the tens of kilobytes that fit into a request would hold up all other visitors.
MAX_ACCEPT_BYTES = 1024
# RFC 9110, 12.4.2: three digits, and 0 means "not acceptable".
MIN_WEIGHT = 0.001
QVALUE = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


class ByteRange(NamedTuple):
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int


class Unsatisfiable(ValueError):
    """A range that begins after the end of the file: 416."""


def accepted(header: str) -> dict[str, float]:
    """Return the codings or media ranges of an Accept-like header by weight. Members without sense are left out."""
    weights: dict[str, float] = {}
    for member in header.lower().split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if name and QVALUE.fullmatch(weight):
            weights[name] = float(weight)
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class Accepts:
    """What a client takes: `codings` of ours that it likes at least as much as the plain file, best first.

    There is one of each, see `read_accepts`, so that they compare and hash by identity.
    """

    codings: tuple[str, ...]
    identity: bool
    html: bool

    def choose(self, available: Container[str]) -> str | None:
        """Return the coding to answer with, None for identity (RFC 9110, 12.5.3)."""
        return next((name for name in self.codings if name in available), None)


def read_accepts(accept_encoding: bytes | None, accept: bytes | None) -> Accepts:
    """Read both headers, a very long one as if it were not there; those that mean the same give the same object."""
    codings, identity = _read_codings(_sensible(accept_encoding) or "")
    return _accepts(codings, identity, takes_html(_sensible(accept)))


def _sensible(header: bytes | None) -> str | None:
    return header.decode("latin-1") if header is not None and len(header) <= MAX_ACCEPT_BYTES else None


# There are sixteen orders and subsets of three codings, and a few bits.
_accepts = cache(Accepts)


def _read_codings(header: str) -> tuple[tuple[str, ...], bool]:
    weights = accepted(header.replace("x-gzip", "gzip"))
    others = weights.get("*", 0.0)
    # What is not named is not wanted, but for identity, which stays the last resort.
    least = max(weights.get("identity", 0.0), MIN_WEIGHT)
    liked = {name: weights.get(name, others) for name in ENCODINGS}
    codings = sorted((name for name in ENCODINGS if liked[name] >= least), key=lambda name: -liked[name])
    return tuple(codings), weights.get("identity", weights.get("*", 1.0)) > 0


def takes_html(accept: str | None) -> bool:
    """Tell whether an Accept header allows a page; the most specific range decides (RFC 9110, 12.5.1)."""
    if accept is None or not accept.strip():
        return True
    weights = accepted(accept)
    specific = (weights.get(media_range) for media_range in ("text/html", "text/*", "*/*"))
    return next((weight for weight in specific if weight is not None), 0.0) > 0


def is_listed(etag: bytes, header: bytes, weak: bool) -> bool:
    """Tell whether our strong `etag` is in an If-Match or If-None-Match; `weak` compares without the `W/` mark."""
    if header == etag or header.strip() == b"*":
        return True
    tags = ENTITY_TAG.findall(header)
    return etag in ([tag.removeprefix(b"W/") for tag in tags] if weak else tags)


def parse_ranges(header: str, size: int) -> tuple[ByteRange, ...]:
    """Return the ranges that are asked for, none to send everything: other units, bad syntax, or more than is sensible.

    Those that overlap or are many are how a server is made to work for nothing (RFC 9110, 14.2 and 17.15). Raises
    Unsatisfiable when every one of them begins after the end.
    """
    unit, mark, listed = header.strip().partition("=")
    if not mark or unit.lower() != "bytes" or listed.count(",") >= 2 * MAX_RANGES:
        return ()
    specs = [spec.strip() for spec in listed.split(",")]
    try:
        parts = [_within(spec, size) for spec in specs if spec]
    except ValueError:
        return ()
    satisfiable = tuple(part for part in parts if part is not None)
    if parts and not satisfiable:
        raise Unsatisfiable
    return () if len(satisfiable) > MAX_RANGES or _overlap(satisfiable) else satisfiable


def _within(spec: str, size: int) -> ByteRange | None:
    """Return a range as far as the file has it, None if it begins after the end. Raises ValueError."""
    match = RANGE.fullmatch(spec)
    if match is None:
        raise ValueError(f"no range: {spec}")
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(size - int(suffix), 0), size
    elif last and int(last) < int(first):
        raise ValueError(f"a range that ends before it begins: {spec}")
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    return ByteRange(start, end) if start < size and start < end else None


def _overlap(parts: tuple[ByteRange, ...]) -> bool:
    ordered = sorted(parts)
    return any(after.start < before.end for before, after in pairwise(ordered))
