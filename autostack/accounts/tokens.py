"""Access and refresh tokens: JWTs of the spec's claims, signed with HS256.

A token names its session (`sid`), and is worth something only while that session's row exists.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from autostack.accounts.models import User
from autostack.errors import Unauthorized
from autostack.settings import Settings

ALGORITHM = "HS256"
AUDIENCE = "autostack"
MAX_TOKEN_CHARACTERS = 4096
REFUSED = "The token is not valid or has expired."


class TokenType(StrEnum):
    ACCESS = "access"
    REFRESH = "refresh"


@dataclass(frozen=True)
class Claims:
    """What a valid token says. `secret` is the session's, and stands in refresh tokens only."""

    user_id: uuid.UUID
    session_id: uuid.UUID
    # By the clock, in seconds since 1970.
    expires_at: int
    secret: str = ""


def access_token(user: User, session_id: uuid.UUID, lifetime_s: int, settings: Settings) -> str:
    """Return a token for the API's `Authorization: Bearer`."""
    claims = {"userId": str(user.id), "email": user.email, "name": user.name, "sid": str(session_id)}
    return _encode(TokenType.ACCESS, claims, lifetime_s, settings)


def refresh_token(user: User, session_id: uuid.UUID, secret: str, lifetime_s: int, settings: Settings) -> str:
    """Return a token that buys one new pair of tokens; `secret` is what makes it the session's current one."""
    claims = {"userId": str(user.id), "sid": str(session_id), "jti": secret}
    return _encode(TokenType.REFRESH, claims, lifetime_s, settings)


def read(token: str, expected: TokenType, settings: Settings) -> Claims:
    """Return a token's claims. Raises Unauthorized for anything but a valid token of the expected type."""
    secret = _secret(expected, settings)
    # An access token comes with each request of its caller; a refresh token comes once.
    claims = (_read_before if expected is TokenType.ACCESS else _read)(token, expected, secret)
    if claims.expires_at <= time.time():
        raise Unauthorized(REFUSED)
    return claims


def _read(token: str, expected: TokenType, secret: str) -> Claims:
    try:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise ValueError("too long")
        claims = jwt.decode(token, _imported(secret), algorithms=[ALGORITHM]).claims
        _registry(expected).validate(claims)
        ids = uuid.UUID(claims["userId"]), uuid.UUID(claims["sid"])
        return Claims(*ids, claims["exp"], str(claims.get("jti", "")))
    # AttributeError: a `userId` that is no string.
    except (JoseError, ValueError, AttributeError):
        raise Unauthorized(REFUSED) from None


# What a signature proves stays proven: only time and the session can change, and both are looked at each time.
_read_before = lru_cache(maxsize=1024)(_read)


def _encode(type_: TokenType, claims: dict[str, Any], lifetime_s: int, settings: Settings) -> str:
    now = int(time.time())
    whole = {**claims, "typ": type_.value, "aud": AUDIENCE, "iat": now, "exp": now + lifetime_s}
    return jwt.encode({"alg": ALGORITHM}, whole, _imported(_secret(type_, settings)), algorithms=[ALGORITHM])


def _secret(type_: TokenType, settings: Settings) -> str:
    return settings.secret("jwt_secret" if type_ is TokenType.ACCESS else "refresh_token_secret")


# Used with every request, and always the same two.
@lru_cache(maxsize=8)
def _imported(secret: str) -> OctKey:
    return OctKey.import_key(secret)


@cache
def _registry(expected: TokenType) -> jwt.JWTClaimsRegistry:
    required = jwt.ClaimsOption(essential=True)
    return jwt.JWTClaimsRegistry(
        exp=required,
        iat=required,
        sid=required,
        userId=required,
        typ=jwt.ClaimsOption(essential=True, value=expected.value),
        aud=jwt.ClaimsOption(essential=True, value=AUDIENCE),
    )
