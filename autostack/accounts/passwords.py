"""Passwords, hashed with bcrypt."""

from __future__ import annotations

from functools import lru_cache

import bcrypt

MIN_CHARACTERS = 8
# bcrypt looks at no more than this; what it would ignore must not be accepted.
MAX_BYTES = 72


def problem_with(password: str) -> str | None:
    """Return why `password` cannot be chosen, or None."""
    if len(password) < MIN_CHARACTERS:
        return f"A password has at least {MIN_CHARACTERS} characters."
    if len(password.encode()) > MAX_BYTES:
        return f"A password has at most {MAX_BYTES} bytes."
    if password.lower() in _common():
        return "This password is among the most common ones: choose another."
    return None


def hash_password(password: str, rounds: int) -> str:
    """Return the bcrypt hash of a password that `problem_with` accepts; the cost is 2^rounds."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


def verify(password: str, password_hash: str | None, rounds: int) -> bool:
    """Tell whether the password fits. Takes as long for a missing hash, so that nobody learns which accounts exist."""
    secret = password.encode()
    known = (password_hash or _nobodys_hash(rounds)).encode()
    matches = bcrypt.checkpw(secret[:MAX_BYTES], known)
    return matches and password_hash is not None and len(secret) <= MAX_BYTES


@lru_cache
def _common() -> frozenset[str]:
    """Return the 30,000 passwords that people choose most, from zxcvbn's lists, in lower case."""
    # Its lists take 13 MB, which processes that nobody chooses a password in need not spend.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(FREQUENCY_LISTS["passwords"])


@lru_cache
def _nobodys_hash(rounds: int) -> str:
    return hash_password("nobody has this password", rounds)
