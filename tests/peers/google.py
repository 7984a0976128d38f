"""Google, as Autostack meets it: OpenID discovery, authorize, token, keys, and id tokens signed with RS256."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tests.peers.oauth_server import CLIENT_ID, Answer, Asked, OAuthServer

DISCOVERY = "/.well-known/openid-configuration"


@cache
def new_key(kid: str) -> RSAKey:
    """Return the key of this name: made once, for it takes a while."""
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})


def google_account(sub: str, address: str, *, verified: bool = True) -> dict[str, Any]:
    """Return the claims that an account's id tokens have."""
    name = address.partition("@")[0].title()
    return {"sub": sub, "email": address, "email_verified": verified, "name": name, "picture": "https://pics.example/1"}


class GooglePeer(OAuthServer):
    """`change` may alter an id token's claims; `sign` may make something else of them than a good id token."""

    authorize_path: ClassVar[str] = "/o/oauth2/v2/auth"
    token_path: ClassVar[str] = "/token"

    def reset(self) -> None:
        super().reset()
        self.issuer: str | None = None
        self.key = new_key("first")
        self.change: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any], RSAKey], str] = signed

    def first_account(self) -> dict[str, Any]:
        return google_account("110169484474386276334", "gina@example.com")

    def grant(self, asked: Asked, token: str) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "azp": CLIENT_ID, "iat": now, "exp": now + 3600}
        claims |= {"nonce": asked.parameters["nonce"], **asked.account, **self.change}
        id_token = self.sign({name: value for name, value in claims.items() if value is not None}, self.key)
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3599, "id_token": id_token}

    def answer(self, method: str, path: str, given: dict[str, str], authorization: str) -> Answer:
        if path == DISCOVERY:
            return Answer(
                {
                    "issuer": self.issuer or self.url,
                    "authorization_endpoint": self.url + self.authorize_path,
                    "token_endpoint": self.url + self.token_path,
                    "jwks_uri": f"{self.url}/certs",
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )
        if path == "/certs":
            return Answer(KeySet([self.key]).as_dict(private=False))
        return super().answer(method, path, given, authorization)


def signed(claims: dict[str, Any], key: RSAKey) -> str:
    """Return a good id token."""
    return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key, algorithms=["RS256"])


@contextmanager
def running_google() -> Iterator[GooglePeer]:
    """Play Google on a free port of 127.0.0.1, with the account `gina`."""
    peer = GooglePeer()
    try:
        yield peer
    finally:
        peer.close()
