"""GitHub and Google, asked by Authlib who somebody is.

What they answer is checked against models here: nothing else of it travels on, and whatever they do wrong becomes
`ProviderTrouble`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from typing import Any, ClassVar

import httpx2
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import AnyHttpUrl, BaseModel, Field, TypeAdapter

from autostack.accounts.one_time import digest
from autostack.errors import AutostackError, NotFound
from autostack.outbound import BoundedTransport
from autostack.settings import Settings

log = structlog.stdlib.get_logger(__name__)

ID_TOKEN_ALGORITHM = "RS256"  # noqa: S105 - the name of an algorithm
# Clocks differ.
LEEWAY_S = 60
REFUSAL = re.compile(r"[a-z_]{1,60}")
GITHUB_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
GITHUB_DEPLOYMENT_SCOPE = "repo"
# What httpx2, Authlib, joserfc, json and pydantic (a ValueError) raise for an answer that is none. With the last three
# Authlib and joserfc stumble over values of other types than they expect.
TROUBLE = (
    httpx2.HTTPError, httpx2.InvalidURL, AuthlibBaseError, JoseError, ValueError, RecursionError,
    TypeError, KeyError, OverflowError,
)  # fmt: skip


class Provider(StrEnum):
    """Who can say who somebody is."""

    GITHUB = "github"
    GOOGLE = "google"

    @property
    def label(self) -> str:
        return {Provider.GITHUB: "GitHub", Provider.GOOGLE: "Google"}[self]


class ProviderNotConfigured(NotFound):
    code = "PROVIDER_NOT_CONFIGURED"

    def __init__(self, provider: Provider) -> None:
        super().__init__(f"Signing in with {provider.label} is not set up on this installation.")


class ProviderTrouble(AutostackError):
    """The provider is away, too slow, or answers what nobody can use."""

    code = "PROVIDER_UNAVAILABLE"
    status = 502

    def __init__(self, provider: Provider) -> None:
        super().__init__(f"{provider.label} did not give a usable answer. Try again in a moment.")


@dataclass(frozen=True)
class Asked:
    """One question to a provider. All but `state` stays with us, and only the browser that asked can lead to it."""

    state: str
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    token: str = field(repr=False)

    @classmethod
    def of(cls, browser: str, state: str) -> Asked:
        """Return the question with this `state` of the browser with this secret."""
        verifier, nonce, token = (digest(f"{what}.{browser}.{state}") for what in ("verifier", "nonce", "token"))
        return cls(state, verifier, nonce, token)


@dataclass(frozen=True)
class Grant:
    """What a provider gave for a code."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    scopes: frozenset[str] = frozenset()
    id_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Identity:
    """Somebody as a provider knows them. Only `provider` and `subject` tell who it is; all else may change hands."""

    provider: Provider
    subject: str
    name: str
    email: str | None = None
    email_verified: bool = False
    avatar_url: str | None = None


class _Token(BaseModel):
    access_token: str = Field(min_length=1, max_length=4096)
    refresh_token: str | None = Field(None, max_length=4096)
    expires_at: int | None = Field(None, ge=0, le=2**40)
    scope: str = ""
    id_token: str | None = None


class _GitHubUser(BaseModel):
    id: int = Field(strict=True, ge=1)
    login: str = Field(min_length=1, max_length=255)
    name: str | None = None
    avatar_url: str | None = None


class _GitHubEmail(BaseModel):
    email: str
    primary: bool
    verified: bool


class _Discovery(BaseModel):
    issuer: str
    authorization_endpoint: AnyHttpUrl
    token_endpoint: AnyHttpUrl
    jwks_uri: AnyHttpUrl


class _GoogleClaims(BaseModel):
    sub: str = Field(min_length=1, max_length=255)
    name: str = ""
    email: str | None = None
    email_verified: bool = False
    picture: str | None = None


class Client(ABC):
    """One provider, as this installation is registered there."""

    provider: ClassVar[Provider]
    sign_in_scope: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def authorization_url(self, asked: Asked, scope: str) -> str:
        """Return where a browser has to go to ask. Raises ProviderTrouble."""
        with self._session() as session:
            url, _ = session.create_authorization_url(
                self._endpoints()[0], state=asked.state, code_verifier=asked.verifier, scope=scope, **self._extra(asked)
            )
            return str(url)

    def exchange(self, code: str, asked: Asked) -> Grant:
        """Return what a code is good for. Raises ProviderTrouble."""
        with self._session() as session:
            answer = session.fetch_token(self._endpoints()[1], code=code, code_verifier=asked.verifier)
            token = _Token.model_validate(dict(answer))
            expires_at = datetime.fromtimestamp(token.expires_at, UTC) if token.expires_at else None
            # RFC 6749 separates scopes by spaces, GitHub by commas.
            scopes = frozenset(token.scope.replace(",", " ").split())
            return Grant(token.access_token, token.refresh_token, expires_at, scopes, token.id_token)

    @abstractmethod
    def identify(self, grant: Grant, asked: Asked) -> Identity:
        """Return who somebody is. Raises ProviderTrouble."""

    @abstractmethod
    def _endpoints(self) -> tuple[str, str]:
        """Return where browsers ask, and where codes are exchanged."""

    def _extra(self, _asked: Asked) -> dict[str, str]:
        return {}

    @contextmanager
    def _session(self) -> Iterator[OAuth2Client]:
        timeout_s = self._settings.oauth_timeout_s
        client_id, secret, callback = registration(self.provider, self._settings)
        try:
            with OAuth2Client(
                client_id,
                secret,
                token_endpoint_auth_method="client_secret_post",  # noqa: S106 - the name of a method
                redirect_uri=callback,
                code_challenge_method="S256",
                timeout=timeout_s,
                transport=BoundedTransport(timeout_s),
                headers={"User-Agent": "Autostack", "Accept-Encoding": "identity"},
            ) as session:
                yield session
        except TROUBLE as error:
            log.warning("no usable answer", provider=self.provider.value, error=type(error).__name__, said=_said(error))
            raise ProviderTrouble(self.provider) from None

    @staticmethod
    def _get(session: OAuth2Client, url: str, grant: Grant | None = None, **headers: str) -> Any:
        authorization = {"Authorization": f"Bearer {grant.access_token}"} if grant else {}
        answer = session.request("GET", url, headers={**headers, **authorization}, withhold_token=True)
        answer.raise_for_status()
        return answer.json()


class GitHub(Client):
    provider = Provider.GITHUB
    sign_in_scope = "user:email"

    def identify(self, grant: Grant, _asked: Asked) -> Identity:
        with self._session() as session:
            user = self._user(session, grant)
            given = self._get(session, f"{self._settings.github_api}/user/emails", grant, **GITHUB_HEADERS)
            emails = TypeAdapter(list[_GitHubEmail]).validate_python(given)
            email = next((email for email in emails if email.primary), None)
            return Identity(
                self.provider,
                str(user.id),
                user.name or user.login,
                email.email if email else None,
                email.verified if email else False,
                user.avatar_url,
            )

    def username(self, grant: Grant) -> str:
        """Return the name of the account that a grant is for. Raises ProviderTrouble."""
        with self._session() as session:
            return self._user(session, grant).login

    def revoke(self, access_token: str) -> None:
        """Have GitHub forget a token. Raises ProviderTrouble."""
        client_id, secret, _ = registration(self.provider, self._settings)
        with self._session() as session:
            answer = session.request(
                "DELETE",
                f"{self._settings.github_api}/applications/{client_id}/token",
                json={"access_token": access_token},
                headers=GITHUB_HEADERS,
                auth=httpx2.BasicAuth(client_id, secret),
            )
            # Its user may have taken it back there.
            if answer.status_code != HTTPStatus.NOT_FOUND:
                answer.raise_for_status()

    def _user(self, session: OAuth2Client, grant: Grant) -> _GitHubUser:
        return _GitHubUser.model_validate(
            self._get(session, f"{self._settings.github_api}/user", grant, **GITHUB_HEADERS)
        )

    def _endpoints(self) -> tuple[str, str]:
        base = f"{self._settings.github_url.rstrip('/')}/login/oauth"
        return f"{base}/authorize", f"{base}/access_token"


class Google(Client):
    provider = Provider.GOOGLE
    sign_in_scope = "openid profile email"

    def identify(self, grant: Grant, asked: Asked) -> Identity:
        with self._session() as session:
            keys = KeySet.import_key_set(self._get(session, str(self._discovered.jwks_uri)))
            token = jwt.decode(grant.id_token or "", keys, algorithms=[ID_TOKEN_ALGORITHM])
            client_id, _, _ = registration(self.provider, self._settings)
            expected = {
                "iss": {"essential": True, "value": self._issuer},
                "aud": {"essential": True, "value": client_id},
            }
            known = {"nonce": asked.nonce, "client_id": client_id, "access_token": grant.access_token}
            CodeIDToken(token.claims, token.header, expected, known).validate(leeway=LEEWAY_S)
            claims = _GoogleClaims.model_validate(token.claims)
            return Identity(self.provider, claims.sub, claims.name, claims.email, claims.email_verified, claims.picture)

    @property
    def _issuer(self) -> str:
        return self._settings.google_url.rstrip("/")

    def _endpoints(self) -> tuple[str, str]:
        return str(self._discovered.authorization_endpoint), str(self._discovered.token_endpoint)

    @cached_property
    def _discovered(self) -> _Discovery:
        with self._session() as session:
            found = _Discovery.model_validate(self._get(session, f"{self._issuer}/.well-known/openid-configuration"))
            if found.issuer != self._issuer:
                raise ValueError("The discovery document is another issuer's")
            return found

    def _extra(self, asked: Asked) -> dict[str, str]:
        return {"nonce": asked.nonce, "prompt": "select_account"}


def _said(error: Exception) -> str | int | None:
    """Return the code of a refusal. All else that a provider says may hold what it was asked with."""
    if isinstance(error, httpx2.HTTPStatusError):
        return int(error.response.status_code)
    code = error.error if isinstance(error, AuthlibBaseError) else None
    return code if isinstance(code, str) and REFUSAL.fullmatch(code) else None


CLIENTS: dict[Provider, type[GitHub] | type[Google]] = {Provider.GITHUB: GitHub, Provider.GOOGLE: Google}


def configured(settings: Settings) -> tuple[Provider, ...]:
    """Return whom this installation is registered with."""
    return tuple(provider for provider in Provider if getattr(settings, f"{provider}_client_id"))


def client_of(provider: Provider, settings: Settings) -> GitHub | Google:
    """Return the client of a provider. Raises ProviderNotConfigured."""
    if provider not in configured(settings):
        raise ProviderNotConfigured(provider)
    return CLIENTS[provider](settings)


def registration(provider: Provider, settings: Settings) -> tuple[str, str, str]:
    """Return the client id, its secret and the callback of a configured provider."""
    own = f"{settings.app_url.rstrip('/')}/api/auth/{provider}/callback"
    secret = getattr(settings, f"{provider}_client_secret").get_secret_value()
    return getattr(settings, f"{provider}_client_id"), secret, getattr(settings, f"{provider}_callback_url") or own
