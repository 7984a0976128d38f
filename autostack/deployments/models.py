"""Deployments with their stages and log lines."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, String, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from autostack.accounts.models import User
from autostack.columns import Created, Id
from autostack.deployments.status import LogLevel, StageStatus, Status, Trigger
from autostack.extensions import Base
from autostack.projects.models import Project


class Deployment(Base):
    """One build of one commit. PostgreSQL owns its state; see `autostack.deployments.status` for the moves."""

    __tablename__ = "deployments"
    __table_args__ = (
        Index("ix_deployments_user_id_sequence", "user_id", "sequence"),
        Index("ix_deployments_project_id_sequence", "project_id", "sequence"),
    )

    id: Mapped[Id]
    # The order in which deployments were asked for: an older one never takes a host from a newer one by itself.
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    status: Mapped[str] = mapped_column(String(50), server_default=Status.QUEUED, default=Status.QUEUED, index=True)
    branch: Mapped[str | None] = mapped_column(String(100))
    commit_hash: Mapped[str | None] = mapped_column(String(40))
    commit_message: Mapped[str | None] = mapped_column(Text)
    author: Mapped[str | None] = mapped_column(String(255))
    build_duration: Mapped[int | None] = mapped_column(Integer)
    deployed_url: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    created_at: Mapped[Created]

    trigger: Mapped[str] = mapped_column(String(20), default=Trigger.API, server_default=Trigger.API)
    # What to build, as it was when the deployment was asked for: repository, commit and build settings.
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    env_vars: Mapped[str | None] = mapped_column(Text)
    # What the build found: framework, package manager and the commands that were run.
    detected: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # The label of the host that serves this deployment for ever.
    label: Mapped[str] = mapped_column(String(63), unique=True)
    # Why it failed or was cancelled, or what it waits for: one line for the owner.
    reason: Mapped[str | None] = mapped_column(Text)
    # The attempt that may write now: the fencing token. NULL while nobody builds.
    attempt_id: Mapped[uuid.UUID | None]
    file_count: Mapped[int | None]
    total_bytes: Mapped[int | None] = mapped_column(BigInteger)
    log_lines: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    log_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)

    project: Mapped[Project] = relationship()
    user: Mapped[User] = relationship()
    stages: Mapped[list[DeploymentStage]] = relationship(
        order_by="DeploymentStage.position", cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def state(self) -> Status:
        return Status(self.status)


class DeploymentStage(Base):
    """One step of a deployment's life as its page shows it."""

    __tablename__ = "deployment_stages"
    __table_args__ = (UniqueConstraint("deployment_id", "position"),)

    id: Mapped[Id]
    deployment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    position: Mapped[int]
    stage_name: Mapped[str] = mapped_column(String(50))
    status: Mapped[str] = mapped_column(String(50), server_default=StageStatus.PENDING, default=StageStatus.PENDING)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]


class DeploymentLog(Base):
    """One line of a deployment's log. `message` begins with the time since the start, and may hold SGR colours."""

    __tablename__ = "deployment_logs"
    __table_args__ = (UniqueConstraint("deployment_id", "seq"),)

    id: Mapped[Id]
    deployment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    seq: Mapped[int] = mapped_column(BigInteger)
    timestamp: Mapped[datetime] = mapped_column(server_default=func.now())
    log_level: Mapped[str] = mapped_column(String(20), server_default=LogLevel.INFO, default=LogLevel.INFO)
    message: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]


class IdempotencyKey(Base):
    """A request for a deployment that may come again. It has neither deployment nor answer while it is under way."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("user_id", "key"),)

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(64))
    deployment_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("deployments.id", ondelete="SET NULL"), index=True
    )
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
