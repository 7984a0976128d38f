"""Where a rule leads: text with the names of captures in it (see `autostack.sites.rules.model.Rule.target`)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote, unquote, urlsplit

from autostack.sites.rules.model import BadRule

MAX_TARGET = 4_096
PLACEHOLDER = re.compile(r":([A-Za-z_]\w*)", re.ASCII)
# What an address may hold as it is (RFC 3986): what is reserved, and escapes.
ADDRESS = ":/?#[]@!$&'()*+,;=%-._~"
# What a capture may bring into a path: no `?` and no `#`, which would end it.
IN_PATH = "/!$'()*,;:@-._~"


def is_url(text: str) -> bool:
    """Tell whether a target names a server."""
    return text.lower().startswith(("http://", "https://"))


def parse_target(text: str, names: Collection[str]) -> tuple[str, ...]:
    """Split a target at the captures of these names; another `:word` is plain text. Raises BadRule."""
    if len(text) > MAX_TARGET:
        raise BadRule(f"a target has at most {MAX_TARGET:,} characters")
    parts = [""]
    for index, part in enumerate(PLACEHOLDER.split(text)):
        if index % 2 == 0:
            parts[-1] += part
        elif part in names:
            parts += [part, ""]
        else:
            parts[-1] += f":{part}"
    return checked_target(tuple(parts))


def checked_target(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return a target in parts that leads somewhere. Raises BadRule."""
    first = parts[0]
    if not is_url(first):
        if not first.startswith("/"):
            raise BadRule("a target begins with /, http:// or https://")
        return parts
    scheme, _, rest = first.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if authority == rest and len(parts) > 1:
        raise BadRule("a target's host name cannot be made of what was asked for")
    try:
        address = urlsplit(first)
        is_sound = bool(address.hostname) and address.username is None and (address.port or 1) > 0
    except ValueError:
        is_sound = False
    if not is_sound or not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", authority):
        raise BadRule(f"{authority[:60]!r} is no host")
    return (f"{scheme.lower()}://{rest}", *parts[1:])


def location(target: Sequence[str], captures: Mapping[str, str]) -> str:
    """Return the address that a target means, percent-encoded."""
    # Two slashes in front would name another server, with what was asked for as its name.
    return re.sub(r"^/{2,}", "/", _filled(target, captures))


def with_query(address: str, query: bytes) -> str:
    """Return an address with the request's query, unless it has one of its own."""
    before, mark, fragment = address.partition("#")
    if not query or "?" in before:
        return address
    # The parser lets bytes above ASCII pass in a target, a header must not hold them.
    kept = "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"%{byte:02X}" for byte in query)
    return f"{before}?{kept}{mark}{fragment}"


def _filled(target: Sequence[str], captures: Mapping[str, str]) -> str:
    filled = quote(target[0], safe=ADDRESS)
    for name, text in zip(target[1::2], target[2::2], strict=True):
        value = quote(captures.get(name, ""), safe="" if "?" in filled else IN_PATH)
        filled += value + quote(text, safe=ADDRESS)
    return filled


def local_path(target: Sequence[str], captures: Mapping[str, str]) -> str:
    """Return the path within the site, decoded, that a target means."""
    path = ""
    for index, part in enumerate(target):
        if index % 2:
            path += captures.get(part, "")
            continue
        # What was captured is part of a path: only the target's own text can have a query.
        before = re.split(r"[?#]", part, maxsplit=1)[0]
        path += unquote(before)
        if before != part:
            break
    return re.sub(r"^/{2,}", "/", path)
