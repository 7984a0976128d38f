"""Build attempts: each try at building a deployment, with the tokens that let its agent speak."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, false, select, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from autostack.columns import Created, Id
from autostack.deployments.models import Deployment
from autostack.extensions import Base
from autostack.hiding import show_only, table_of
from autostack.projects.models import DELETED

LOCAL, ECS = "local", "ecs"


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
        Index("ix_build_attempts_tasks", "task", postgresql_where=text("task IS NOT NULL AND NOT task_over")),
    )

    id: Mapped[Id]
    deployment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    executor: Mapped[str] = mapped_column(String(20))
    bootstrap_token_hash: Mapped[str] = mapped_column(String(64))
    # Set when the order was fetched: of the token that its agent speaks with, and of what that agent alone knows.
    token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    nonce_hash: Mapped[str | None] = mapped_column(String(64))
    last_batch: Mapped[int] = mapped_column(server_default="0", default=0)
    # Sweeps in a row that found no new heartbeat. Counting them, not hours, keeps a jumping clock from ending builds.
    silent_sweeps: Mapped[int] = mapped_column(server_default="0", default=0)
    heartbeats: Mapped[int] = mapped_column(server_default="0", default=0)
    heartbeats_seen: Mapped[int] = mapped_column(server_default="-1", default=-1)
    # All sweeps since it was opened.
    sweeps: Mapped[int] = mapped_column(server_default="0", default=0)
    # The ARN of its task on ECS, once ECS has told it, and whether nothing is left of that to be stopped.
    task: Mapped[str | None] = mapped_column(Text)
    # What that was asked for with.
    memory_mib: Mapped[int | None]
    disk_gib: Mapped[int | None]
    task_over: Mapped[bool] = mapped_column(server_default=false(), default=False)
    # All that its agent has sent, or has been given addresses for.
    sent_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    # Sweeps that found it built, and asked for it to be published.
    publish_sweeps: Mapped[int] = mapped_column(server_default="0", default=0)
    outcome: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    ended_at: Mapped[datetime | None]

    deployment: Mapped[Deployment] = relationship()


class TaskToStop(Base):
    """A task on ECS, by its ARN, whose attempt was deleted with its deployment before the task was stopped."""

    __tablename__ = "tasks_to_stop"

    task: Mapped[str] = mapped_column(Text, primary_key=True)
    created_at: Mapped[Created]


_deployments = table_of(Deployment)
_there = select(_deployments.c.id).where(_deployments.c.project_id.not_in(DELETED))
show_only(BuildAttempt, BuildAttempt.deployment_id.in_(_there))
