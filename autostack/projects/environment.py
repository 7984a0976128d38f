"""Environment variables of builds: reading what owners write, and showing what is stored without its values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_VARIABLES = 100
MAX_NAME_CHARACTERS = 255
MAX_BYTES = 64_000
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
MASK = "••••••"
# Shorter values would be half given away by their beginning.
MIN_CHARACTERS_TO_SHOW_TWO = 12


def read_variables(given: Any) -> dict[str, str]:
    """Return names and values of an object, or of `.env` text. Raises ValueError with a sentence for the owner."""
    variables = parse_dotenv(given) if isinstance(given, str) else given
    if not isinstance(variables, Mapping):
        raise ValueError("must be an object of names and values, or lines of the form NAME=value")
    if len(variables) > MAX_VARIABLES:
        raise ValueError(f"must be at most {MAX_VARIABLES} variables")
    for name, value in variables.items():
        _check(name, value)
    if sum(len(name) + len(value.encode()) for name, value in variables.items()) > MAX_BYTES:
        raise ValueError(f"must be at most {MAX_BYTES // 1000} kB in all")
    return dict(variables)


def parse_dotenv(text: str) -> dict[str, str]:
    """Read lines `NAME=value`; `export`, comments and quotes are as in the usual `.env` files. Raises ValueError."""
    variables: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals:
            raise ValueError(f"line {number} must have the form NAME=value")
        variables[name.strip()] = _value(value.strip())
    return variables


def preview(value: str) -> str:
    """Return what an owner may see again of a value: enough to know it, not to use it."""
    return value[:2] + MASK if len(value) >= MIN_CHARACTERS_TO_SHOW_TWO else MASK


def _value(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), text[1:-1])
    return re.split(r"\s#", text, maxsplit=1)[0].rstrip()


def _check(name: Any, value: Any) -> None:
    if not isinstance(name, str) or len(name) > MAX_NAME_CHARACTERS or not NAME.fullmatch(name):
        raise ValueError(f"{str(name)[:40]!r} is no name: letters, digits and _, not beginning with a digit")
    if not isinstance(value, str):
        raise ValueError(f"the value of {name} must be text")
    if "\0" in value or not _is_unicode(value):
        raise ValueError(f"the value of {name} must not contain NUL or broken characters")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
