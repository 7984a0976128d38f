"""Log lines' SGR colour sequences (ECMA-48, 8.3.117), as HTML classes or left out."""

from __future__ import annotations

import re

from markupsafe import escape

SGR = re.compile(r"\x1b\[([0-9;]*)m")
RESET = 0
STYLES = frozenset({1, 2, 3, 4, 7, 9})
FOREGROUNDS = frozenset((*range(30, 38), *range(90, 98)))
BACKGROUNDS = frozenset((*range(40, 48), *range(100, 108)))
# What takes back which.
ENDS = {22: {1, 2}, 23: {3}, 24: {4}, 27: {7}, 29: {9}, 39: FOREGROUNDS, 49: BACKGROUNDS}
# 38 and 48 begin a colour of the palette (5;n) or a true one (2;r;g;b): skipped, the log has sixteen of its own.
EXTENDED = {5: 1, 2: 3}


def plain(text: str) -> str:
    """Return the text without colours."""
    return SGR.sub("", text)


def to_html(text: str) -> str:
    """Return the text escaped, with its colours as `<span class="ansi-31">`. Safe to show as it is."""
    parts: list[str] = []
    active: set[int] = set()
    position = 0
    for match in SGR.finditer(text):
        parts.append(_span(text[position : match.start()], active))
        _apply(match[1], active)
        position = match.end()
    parts.append(_span(text[position:], active))
    return "".join(parts)


def _span(text: str, active: set[int]) -> str:
    if not text or not active:
        return str(escape(text))
    classes = " ".join(f"ansi-{code}" for code in sorted(active))
    return f'<span class="{classes}">{escape(text)}</span>'


def _apply(parameters: str, active: set[int]) -> None:
    codes = [int(code[:4] or 0) for code in parameters.split(";")]
    while codes:
        code = codes.pop(0)
        if code in (38, 48) and codes:
            del codes[: 1 + EXTENDED.get(codes[0], 0)]
        else:
            _apply_one(code, active)


def _apply_one(code: int, active: set[int]) -> None:
    if code == RESET:
        active.clear()
    elif code in FOREGROUNDS:
        active -= FOREGROUNDS
        active.add(code)
    elif code in BACKGROUNDS:
        active -= BACKGROUNDS
        active.add(code)
    elif code in STYLES:
        active.add(code)
    else:
        active -= ENDS.get(code, frozenset())
