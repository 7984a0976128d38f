"""What the accounts API takes and answers."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal
from urllib.parse import urljoin

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, WithJsonSchema, field_validator

from autostack.accounts import passwords
from autostack.accounts.models import PersonalAccessToken, Session, SessionKind, User, UserPreferences
from autostack.accounts.scopes import Scope
from autostack.accounts.service import normal_email
from autostack.accounts.sessions import Tokens
from autostack.extensions import settings
from autostack.web.schemas import WHOLE, Schema, Time

# Neither side is looked into more closely: only a mail that arrives proves an address.
EMAIL = r"^[^@\s\x00-\x1f\x7f-\x9f]{1,64}@[^@\s\x00-\x1f\x7f-\x9f.]+(\.[^@\s\x00-\x1f\x7f-\x9f.]+)+$"
MAX_EMAIL_CHARACTERS = 254
MAX_PASSWORD_CHARACTERS = 1000
DAY_S = 86_400


def _choosable(password: str) -> str:
    if problem := passwords.problem_with(password):
        raise ValueError(problem)
    return password


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$"),
    Field(examples=["Ada Lovelace"]),
]
Email = Annotated[
    str,
    StringConstraints(pattern=EMAIL, max_length=MAX_EMAIL_CHARACTERS),
    AfterValidator(normal_email),
    Field(examples=["ada@example.com"]),
]
Password = Annotated[
    str,
    StringConstraints(strip_whitespace=False, min_length=1, max_length=MAX_PASSWORD_CHARACTERS),
    Field(examples=["correct horse battery staple"]),
]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=200), Field(examples=["kRk0_cXbW3xq"])]
NewPassword = Annotated[
    Password,
    AfterValidator(_choosable),
    Field(description="8 characters to 72 bytes, and none of the most common ones."),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": passwords.MIN_CHARACTERS,
            "maxLength": passwords.MAX_BYTES,
            "examples": ["correct horse battery staple"],
        }
    ),
]
TokenName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$"),
    Field(examples=["Deploys from CI"]),
]
AccessToken = Annotated[str, Field(examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"])]
RefreshToken = Annotated[str, Field(examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6InJlZnJlc2gifQ"])]


class SignUpIn(Schema):
    name: Name
    email: Email
    password: NewPassword


class LogInIn(Schema):
    email: Email
    password: Password


class LogInFormIn(LogInIn):
    """What the page asks besides: whether its cookie outlasts the browser. The API's tokens have no such choice."""

    remember: bool = False


class RefreshIn(Schema):
    refresh_token: Annotated[RefreshToken, StringConstraints(min_length=1, max_length=4096)]


class ForgotPasswordIn(Schema):
    email: Email


class VerifyEmailIn(Schema):
    token: Secret


class ResetPasswordIn(VerifyEmailIn):
    password: NewPassword


class ChangePasswordIn(Schema):
    current_password: Password
    new_password: NewPassword


class DeleteAccountIn(Schema):
    """An account without a password takes a fresh sign-in instead."""

    password: Password | None = None


class BeginQuery(Schema):
    """Where to go once signed in: to `next`, a path of ours, or with `code_challenge` back to the front end."""

    next: str = Field("", examples=["/projects"])
    code_challenge: Annotated[
        str, StringConstraints(strip_whitespace=False, pattern=r"^([A-Za-z0-9_-]{43})?$"), Field(examples=[""])
    ] = Field("", description="Of a front end: the SHA-256 of its `codeVerifier`, in base64url (RFC 7636, S256).")


class ExchangeIn(Schema):
    """What FRONTEND_URL was visited with, and what only the front end that began the sign-in knows."""

    code: Secret
    code_verifier: Annotated[
        str,
        StringConstraints(strip_whitespace=False, pattern=r"^[A-Za-z0-9._~-]{43,128}$"),
        Field(examples=["dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"]),
    ]


class CallbackQuery(Schema):
    """What a provider sends a browser back with."""

    state: str = Field("", examples=["8s0d1xqLkXb"])
    code: str = Field("", examples=["4c1b7d9e"])
    error: str = Field("", examples=["access_denied"])


class ProfileIn(Schema):
    name: Name


class PreferencesIn(Schema):
    """What is given is changed."""

    theme: Literal["light", "dark", "system"] | None = None
    email_notifications: bool | None = None
    deployment_success_notifications: bool | None = None
    deployment_failure_notifications: bool | None = None

    def changes(self) -> dict[str, Any]:
        """Return what was given, by the names of UserPreferences' columns."""
        return self.model_dump(exclude_none=True)


class MessageOut(Schema):
    message: str = Field(examples=["The e-mail address is confirmed."])


class PreferencesOut(Schema):
    theme: str = Field(examples=["system"])
    email_notifications: bool
    deployment_success_notifications: bool
    deployment_failure_notifications: bool

    @classmethod
    def of(cls, preferences: UserPreferences) -> PreferencesOut:
        return cls(
            theme=preferences.theme,
            email_notifications=preferences.email_notifications,
            deployment_success_notifications=preferences.deployment_success_notifications,
            deployment_failure_notifications=preferences.deployment_failure_notifications,
        )


class UserOut(Schema):
    id: uuid.UUID
    name: str = Field(examples=["Ada Lovelace"])
    email: str = Field(examples=["ada@example.com"])
    avatar_url: str | None = Field(examples=["https://avatars.githubusercontent.com/u/1"])
    email_verified: bool
    created_at: Time

    @classmethod
    def of(cls, user: User) -> UserOut:
        return cls(
            id=user.id,
            name=user.name,
            email=user.email,
            avatar_url=urljoin(settings().app_url, user.avatar_url) if user.avatar_url else None,
            email_verified=user.email_verified,
            created_at=user.created_at,
        )


class TokensOut(Schema):
    """`expires_in` is in seconds."""

    token: AccessToken
    refresh_token: RefreshToken
    expires_in: int = Field(examples=[604_800])
    user: UserOut

    @classmethod
    def of(cls, user: User, tokens: Tokens) -> TokensOut:
        return cls(
            token=tokens.access,
            refresh_token=tokens.refresh,
            expires_in=tokens.expires_in_s,
            user=UserOut.of(user),
        )


class TicketOut(Schema):
    """`expires_in` is in seconds."""

    ticket: str = Field(examples=["q1c7Yk2nVt0"])
    expires_in: int = Field(examples=[30])


class SignInOut(Schema):
    """One of the caller's sessions; `current` is the one that the request came with."""

    id: uuid.UUID
    kind: SessionKind
    address: str | None = Field(examples=["203.0.113.7"])
    user_agent: str | None = Field(examples=["Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"])
    current: bool
    created_at: Time
    last_seen_at: Time
    expires_at: Time

    @classmethod
    def of(cls, session: Session, current_id: uuid.UUID) -> SignInOut:
        return cls(
            id=session.id,
            kind=SessionKind(session.kind),
            address=session.address,
            user_agent=session.user_agent,
            current=session.id == current_id,
            created_at=session.created_at,
            last_seen_at=session.last_seen_at,
            expires_at=session.expires_at,
        )


class SessionsOut(Schema):
    sessions: list[SignInOut]


class AccessTokenIn(Schema):
    """A token without `expires_in_days` lasts until it is revoked."""

    name: TokenName
    scope: Scope
    expires_in_days: Annotated[int, Field(ge=1, le=3650), WHOLE] | None = Field(None, examples=[90])

    @field_validator("expires_in_days", mode="before")
    @classmethod
    def _never(cls, value: Any, given: ValidationInfo) -> Any:
        # A form's way of choosing nothing.
        return None if value == "" and given.mode == "python" else value

    @property
    def lifetime_s(self) -> int | None:
        return self.expires_in_days * DAY_S if self.expires_in_days else None


class AccessTokenOut(Schema):
    """A personal access token. `hint` are its first characters: all that is shown of it later."""

    id: uuid.UUID
    name: TokenName
    hint: str = Field(examples=["ast_kRk0_c"])
    scope: Scope
    created_at: Time
    last_used_at: Time | None
    expires_at: Time | None

    @classmethod
    def of(cls, token: PersonalAccessToken) -> AccessTokenOut:
        return cls(
            id=token.id,
            name=token.name,
            hint=token.hint,
            scope=Scope(token.scope),
            created_at=token.created_at,
            last_used_at=token.last_used_at,
            expires_at=token.expires_at,
        )


class AccessTokensOut(Schema):
    tokens: list[AccessTokenOut]


class NewAccessTokenOut(AccessTokenOut):
    """The one time that the token itself is shown."""

    token: str = Field(examples=["ast_kRk0_cXbW3xq"])

    @classmethod
    def made(cls, token: PersonalAccessToken, secret: str) -> NewAccessTokenOut:
        return cls(**AccessTokenOut.of(token).model_dump(), token=secret)


class SessionOut(Schema):
    user: UserOut
    expires_at: Time

    @classmethod
    def of(cls, session: Session) -> SessionOut:
        return cls(user=UserOut.of(session.user), expires_at=session.expires_at)
