"""Users, what they prefer, and the sessions they are signed in with."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from enum import StrEnum

from flask_login import UserMixin
from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, false, func, text, true
from sqlalchemy.orm import Mapped, mapped_column, relationship

from autostack.columns import Created, Id, Updated
from autostack.extensions import Base

# Where pictures are served from; `avatar_url` is a path below it, or an address of GitHub's or Google's.
AVATARS = "/avatars/"


class SessionKind(StrEnum):
    BROWSER = "browser"
    API = "api"


class User(UserMixin, Base):  # type: ignore[misc]  # Flask-Login ships no types
    """Somebody with an account. `email` is stored in lower case."""

    __tablename__ = "users"
    __table_args__ = (
        Index("ix_users_email", "email"),
        Index(
            "ix_users_deletion_asked_at", "deletion_asked_at", postgresql_where=text("deletion_asked_at IS NOT NULL")
        ),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(255))
    email: Mapped[str] = mapped_column(String(255), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    avatar_url: Mapped[str | None] = mapped_column(Text)
    github_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    google_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    email_verified: Mapped[bool] = mapped_column(server_default=false(), default=False)
    is_active: Mapped[bool] = mapped_column(server_default=true(), default=True)
    is_superuser: Mapped[bool] = mapped_column(server_default=false(), default=False)
    # Its owner has asked for that; it is closed, and there only until all that is its is gone.
    deletion_asked_at: Mapped[datetime | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]

    preferences: Mapped[UserPreferences] = relationship(
        back_populates="user", cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def picture(self) -> str | None:
        """The path of the picture that the user gave us. What GitHub and Google know is theirs to show, not ours."""
        return self.avatar_url if self.avatar_url and self.avatar_url.startswith(AVATARS) else None


class Avatar(Base):
    """A user's picture, as it is served: drawn by us, small. Its id is its address, and new with each picture."""

    __tablename__ = "avatars"

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[Created]

    @property
    def path(self) -> str:
        return f"{AVATARS}{self.id}"


class UserPreferences(Base):
    """What a user chose: the theme, and which mails to get."""

    __tablename__ = "user_preferences"

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    theme: Mapped[str] = mapped_column(String(20), server_default="system", default="system")
    email_notifications: Mapped[bool] = mapped_column(server_default=true(), default=True)
    deployment_success_notifications: Mapped[bool] = mapped_column(server_default=true(), default=True)
    deployment_failure_notifications: Mapped[bool] = mapped_column(server_default=true(), default=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]

    user: Mapped[User] = relationship(back_populates="preferences")


class Session(Base):
    """One sign-in, of a browser or of an API client. `token` holds the SHA-256 of the secret, never the secret."""

    __tablename__ = "sessions"

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token: Mapped[str] = mapped_column(String(255), unique=True)
    kind: Mapped[str] = mapped_column(String(20), server_default=SessionKind.API, default=SessionKind.API)
    # As its owner recognises it: where it was opened from, and when it was used last, to the minute.
    address: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(255))
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    created_at: Mapped[Created]

    user: Mapped[User] = relationship()


class PersonalAccessToken(Base):
    """A token for the command line and for CI, until it expires or is revoked. `token` holds its SHA-256."""

    __tablename__ = "personal_access_tokens"

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    token: Mapped[str] = mapped_column(String(64), unique=True)
    # What its owner recognises it by: its first characters.
    hint: Mapped[str] = mapped_column(String(20))
    scope: Mapped[str] = mapped_column(String(20))
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    created_at: Mapped[Created]

    user: Mapped[User] = relationship()

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)


class OneTimeToken(Base):
    """What the link in a mail carries: good once, until it expires. `token` holds the SHA-256 of the secret."""

    __tablename__ = "one_time_tokens"
    __table_args__ = (UniqueConstraint("user_id", "purpose"),)

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(String(50))
    token: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime]
    created_at: Mapped[Created]


class OAuthRequest(Base):
    """A question to GitHub or Google that a browser was sent away with, until its answer comes back: once.

    `token` holds a SHA-256 that takes both the `state` and the secret of that browser to make again.
    """

    __tablename__ = "oauth_requests"

    id: Mapped[Id]
    token: Mapped[str] = mapped_column(String(64), unique=True)
    provider: Mapped[str] = mapped_column(String(20))
    purpose: Mapped[str] = mapped_column(String(20))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    target: Mapped[str] = mapped_column(Text)
    # Of a front end that is to get a code for this sign-in: see `SignInCode`.
    challenge: Mapped[str | None] = mapped_column(String(43))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    created_at: Mapped[Created]


class SignInCode(Base):
    """What a front end elsewhere gets tokens for, once somebody has signed in by GitHub or Google.

    `token` holds a SHA-256 that takes both the code and the front end's verifier to make again.
    """

    __tablename__ = "sign_in_codes"

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    created_at: Mapped[Created]


class PendingMail(Base):
    """A mail that is to be written and sent, and then, until `quiet_until`, what keeps the next of its kind away.

    It names an address, not a user: nobody learns which accounts exist.
    """

    __tablename__ = "pending_mails"
    __table_args__ = (UniqueConstraint("purpose", "recipient"),)

    id: Mapped[Id]
    purpose: Mapped[str] = mapped_column(String(50))
    recipient: Mapped[str] = mapped_column(String(255))
    attempts: Mapped[int] = mapped_column(server_default="0", default=0)
    # None once there is nothing more to do.
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now(), index=True)
    quiet_until: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[Created]


class GitHubConnection(Base):
    """A user's GitHub account, connected for deployments. Its tokens are encrypted."""

    __tablename__ = "github_connections"

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    github_username: Mapped[str | None] = mapped_column(String(255))
    github_access_token: Mapped[str] = mapped_column(Text)
    github_refresh_token: Mapped[str | None] = mapped_column(Text)
    token_expires_at: Mapped[datetime | None]
    connected_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TokenRevocation(Base):
    """A token that GitHub is to take back, encrypted. It names no user: who it was for may be deleted by now."""

    __tablename__ = "token_revocations"

    id: Mapped[Id]
    access_token: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(server_default="0", default=0)
    due_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    created_at: Mapped[Created]
