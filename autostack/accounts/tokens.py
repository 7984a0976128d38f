"""Access and refresh tokens: JWTs of the spec's claims, signed with HS256.

A token names its session (`sid`), and is worth something only while that session's row exists.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
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


class TokenType(StrEnum):
    ACCESS = "access"
    REFRESH = "refresh"


@dataclass(frozen=True)
class Claims:
    """What a valid token says. `secret` is the session's, and stands in refresh tokens only."""

    user_id: uuid.UUID
    session_id: uuid.UUID
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
    try:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise ValueError("too long")
        claims = jwt.decode(token, _key(expected, settings), algorithms=[ALGORITHM]).claims
        _registry(expected).validate(claims)
        return Claims(uuid.UUID(claims["userId"]), uuid.UUID(claims["sid"]), str(claims.get("jti", "")))
    # AttributeError: a `userId` that is no string.
    except (JoseError, ValueError, AttributeError):
        raise Unauthorized("The token is not valid or has expired.") from None


def _encode(type_: TokenType, claims: dict[str, Any], lifetime_s: int, settings: Settings) -> str:
    now = int(time.time())
    whole = {**claims, "typ": type_.value, "aud": AUDIENCE, "iat": now, "exp": now + lifetime_s}
    return jwt.encode({"alg": ALGORITHM}, whole, _key(type_, settings), algorithms=[ALGORITHM])


def _key(type_: TokenType, settings: Settings) -> OctKey:
    secret = settings.secret("jwt_secret" if type_ is TokenType.ACCESS else "refresh_token_secret")
    return OctKey.import_key(secret)


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
