"""Build attempts: each try at building a deployment, with the tokens that let its agent speak."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from autostack.columns import Created, Id
from autostack.deployments.models import Deployment
from autostack.extensions import Base


class Outcome(StrEnum):
    """How an attempt ended."""

    BUILT = "built"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class BuildAttempt(Base):
    """One try at building a deployment. Its id is the fencing token. Tokens are kept as SHA-256 only."""

    __tablename__ = "build_attempts"
    __table_args__ = (
        UniqueConstraint("deployment_id", "number"),
        Index("ix_build_attempts_open", "deployment_id", postgresql_where=text("ended_at IS NULL")),
    )

    id: Mapped[Id]
    deployment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    executor: Mapped[str] = mapped_column(String(20))
    bootstrap_token_hash: Mapped[str] = mapped_column(String(64))
    # Set when the order was fetched; the bootstrap token is worth nothing once this one was used.
    token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    last_batch: Mapped[int] = mapped_column(server_default="0", default=0)
    # Sweeps in a row that found no new heartbeat. Counting them, not hours, keeps a jumping clock from ending builds.
    silent_sweeps: Mapped[int] = mapped_column(server_default="0", default=0)
    heartbeats: Mapped[int] = mapped_column(server_default="0", default=0)
    heartbeats_seen: Mapped[int] = mapped_column(server_default="-1", default=-1)
    # Sweeps that found it built, and asked for it to be published.
    publish_sweeps: Mapped[int] = mapped_column(server_default="0", default=0)
    outcome: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    ended_at: Mapped[datetime | None]

    deployment: Mapped[Deployment] = relationship()
