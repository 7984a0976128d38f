"""Headers for paths: the blocks of `_headers`, and `[[headers]]` of netlify.toml."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from autostack.sites.rules.model import BadRule, HeaderRule
from autostack.sites.rules.patterns import header_pattern

MAX_VALUE = 8_192
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# What says how a response is sent, or where from, is decided by whoever sends it.
_OURS = """
accept-ranges age allow alt-svc basic-auth connection content-encoding content-length content-range date etag host
keep-alive location proxy-connection server te trailer transfer-encoding upgrade via
"""
OURS = frozenset(_OURS.split())


@dataclass
class Block:
    """A path with the headers that were read for it so far."""

    source: str
    path: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def rule(self) -> HeaderRule | None:
        """Return what the block says, None if that is nothing. Raises BadRule."""
        pattern = header_pattern(self.path)
        if not self.headers and not self.removed:
            return None
        return HeaderRule(self.source, self.path, pattern, tuple(self.headers), tuple(self.removed))


def read_header(block: Block, line: str) -> None:
    """Add a line of a block of `_headers`. Raises BadRule."""
    if line.startswith("!"):
        block.removed.append(checked_name(line[1:].strip()))
        return
    name, colon, value = line.partition(":")
    if not colon:
        raise BadRule("a header is written as `Name: value`")
    block.headers.append(checked_header(name.strip(), value.strip()))


def read_table(source: str, table: object) -> HeaderRule | None:
    """Return the block of one of netlify.toml's `[[headers]]`, None if it is empty. Raises BadRule."""
    if (
        not isinstance(table, dict)
        or not isinstance(table.get("for"), str)
        or not isinstance(table.get("values"), dict)
    ):
        raise BadRule("a block of headers has a text `for` and a table `values`")
    block = Block(source, table["for"].strip())
    for name, values in table["values"].items():
        for value in _lines(values):
            block.headers.append(checked_header(name.strip(), value))
    return block.rule()


def checked_header(name: str, value: str) -> tuple[str, str]:
    """Return a header that may be sent. Raises BadRule."""
    checked_name(name)
    if not value or len(value) > MAX_VALUE or not VALUE.fullmatch(value):
        raise BadRule(f"the value of {name} is 1 to {MAX_VALUE:,} printable characters of Latin-1")
    if name.lower() == "set-cookie" and re.search(r";\s*domain\s*=", value, re.IGNORECASE):
        raise BadRule("a cookie is the site's own: without Domain")
    return name, value


def checked_name(name: str) -> str:
    """Return the name of a header that an owner may decide on. Raises BadRule."""
    if not NAME.fullmatch(name):
        raise BadRule(f"{name[:60]!r} is no name of a header")
    if name.lower() in OURS:
        raise BadRule(f"{name} cannot be set")
    return name


def _lines(values: object) -> Iterable[str]:
    given = values if isinstance(values, list) else [values]
    if not all(isinstance(value, str) for value in given):
        raise BadRule("the value of a header is a text")
    # Text over several lines is one value with its parts after commas.
    return [" ".join(str(value).split()) for value in given]
