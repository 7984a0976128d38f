"""What the headers of a request ask for, read as RFC 9110 has it: encodings, ranges, conditions, types."""

from __future__ import annotations

import re
from typing import NamedTuple

from autostack.proxy.cache import remembered

# The server's preference among those that the client likes equally.
ENCODINGS = ("zstd", "br", "gzip")
ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*")
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


@remembered(4096)
def choose_encoding(header: str, available: frozenset[str]) -> str | None:
    """Return the coding to answer with, None for identity (RFC 9110, 12.5.3)."""
    weights = accepted(header.replace("x-gzip", "gzip"))
    others = weights.get("*", 0.0)
    # What is not named is not wanted, but for identity, which stays the last resort.
    identity = weights.get("identity", 0.0)
    offered = [name for name in ENCODINGS if name in available]
    best = max(offered, key=lambda name: weights.get(name, others), default=None)
    if best is None or weights.get(best, others) == 0 or weights.get(best, others) < identity:
        return None
    return best


@remembered(1024)
def refuses_identity(header: str) -> bool:
    """Tell whether an Accept-Encoding excludes the plain file."""
    weights = accepted(header)
    return weights.get("identity", weights.get("*", 1.0)) == 0


@remembered(1024)
def takes_html(accept: str | None) -> bool:
    """Tell whether an Accept header allows a page; the most specific range decides (RFC 9110, 12.5.1)."""
    if accept is None or not accept.strip():
        return True
    weights = accepted(accept)
    specific = (weights.get(media_range) for media_range in ("text/html", "text/*", "*/*"))
    return next((weight for weight in specific if weight is not None), 0.0) > 0


def is_listed(etag: str, header: str, weak: bool) -> bool:
    """Tell whether our strong `etag` is in an If-Match or If-None-Match; `weak` compares without the `W/` mark."""
    if header.strip() == "*":
        return True
    tags = ENTITY_TAG.findall(header)
    return etag in ([tag.removeprefix("W/") for tag in tags] if weak else tags)


def parse_range(header: str, size: int) -> ByteRange | None:
    """Return the one range that is asked for, None to send everything: other units, several ranges, bad syntax.

    Raises Unsatisfiable.
    """
    match = RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return _within(max(size - int(suffix), 0), size, size)
    if last and int(last) < int(first):
        return None
    return _within(int(first), min(int(last) + 1, size) if last else size, size)


def _within(start: int, end: int, size: int) -> ByteRange:
    if start >= size:
        raise Unsatisfiable
    return ByteRange(start, end)
