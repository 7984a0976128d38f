"""Secrets of the environment variables are taken out of the log, in every form that build tools print them in."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

MASK = "***"
MIN_SECRET_CHARS = 8
# Values that say nothing by themselves; to mask them would make the log unreadable.
COMMONPLACE = frozenset(
    {"development", "production", "disabled", "localhost", "127.0.0.1", "http://localhost", "undefined", "us-east-1"}
)
# Widths at which `base64` and `openssl base64` break their lines.
BASE64_LINE_WIDTHS = (76, 64)


class Masker:
    """Replaces the secrets among `env`'s values in text."""

    def __init__(self, env: Mapping[str, str]) -> None:
        forms = {form for value in env.values() for form in _forms(value)}
        self._forms = sorted(forms, key=len, reverse=True)

    @property
    def longest(self) -> int:
        """Characters of the longest form: a text cut off anywhere can end with at most a part this long."""
        return len(self._forms[0]) if self._forms else 0

    def mask(self, text: str) -> str:
        """Return `text` with each secret replaced. A plain search a form is far faster than one large regex."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def is_secret(value: str) -> bool:
    """Tell whether a value is worth masking: long enough to be one, and not a word that logs are full of."""
    return len(value) >= MIN_SECRET_CHARS and value.lower() not in COMMONPLACE


def _forms(value: str) -> Iterator[str]:
    """Yield every form of one variable's value that must not be printed."""
    for part in {value, value.strip(), *(line.strip() for line in value.splitlines())}:
        if is_secret(part):
            yield from (form for form in _encodings(part) if len(form) >= MIN_SECRET_CHARS)


def _encodings(secret: str) -> Iterator[str]:
    yield secret
    yield from _json_encodings(secret)
    yield from _url_encodings(secret)
    yield from _base64_encodings(secret.encode())
    yield secret.encode().hex()


def _json_encodings(secret: str) -> Iterator[str]:
    """Yield the secret as within a JSON string, and as within JSON that is itself a string in JSON."""
    for only_ascii in (True, False):
        once = json.dumps(secret, ensure_ascii=only_ascii)[1:-1]
        yield from (once, json.dumps(once, ensure_ascii=only_ascii)[1:-1])


def _url_encodings(secret: str) -> Iterator[str]:
    for safe in ("", "/", "!'()*", "/:?&=@+,;$"):
        quoted = urllib.parse.quote(secret, safe=safe)
        yield from (quoted, quoted.replace("%20", "+"))
        yield _lower_escapes(quoted)


def _lower_escapes(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_encodings(secret: bytes) -> Iterator[str]:
    """Yield what base64 makes of the secret at each of the three places that it can begin within a group of bytes."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret).decode()
        first_own = (shift * 8 + 5) // 6
        last_own = (shift + len(secret)) * 8 // 6
        own = text[first_own:last_own]
        yield from _both_alphabets([own])
    yield from _both_alphabets(_wrapped(base64.b64encode(secret).decode()))


def _wrapped(text: str) -> Iterator[str]:
    for width in BASE64_LINE_WIDTHS:
        yield from (text[start : start + width] for start in range(0, len(text), width))


def _both_alphabets(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield text
        yield text.replace("+", "-").replace("/", "_")
