"""Deployments with their stages and log lines."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, String, Text, UniqueConstraint, func, or_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from autostack.accounts.models import User
from autostack.columns import Created, Id
from autostack.deployments.status import LogLevel, StageStatus, Status, Trigger
from autostack.extensions import Base
from autostack.hiding import show_only
from autostack.projects.models import DELETED, Project

# What figures are made of.
FIGURES = ["status", "build_duration", "project_id"]


class Deployment(Base):
    """One build of one commit. PostgreSQL owns its state; see `autostack.deployments.status` for the moves."""

    __tablename__ = "deployments"
    __table_args__ = (
        # Lists and counts read no row: what they filter by stands in the index.
        Index("ix_deployments_user_id_sequence", "user_id", "sequence", postgresql_include=["status", "project_id"]),
        Index("ix_deployments_project_id_sequence", "project_id", "sequence", postgresql_include=["status"]),
        Index("ix_deployments_status_sequence", "status", "sequence"),
        # Figures: a user's, and the platform's.
        Index("ix_deployments_user_id_created_at", "user_id", "created_at", postgresql_include=FIGURES),
        Index("ix_deployments_created_at", "created_at", postgresql_include=FIGURES),
    )

    id: Mapped[Id]
    # The order in which deployments were asked for: an older one never takes a host from a newer one by itself.
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(50), server_default=Status.QUEUED, default=Status.QUEUED)
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
    # How often ECS had no place for it, and until when it is not asked again.
    refusals: Mapped[int] = mapped_column(server_default="0", default=0)
    held_until: Mapped[datetime | None]
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


# A deployment that was deleted by itself was given to a project that is deleted.
show_only(Deployment, Deployment.project_id.not_in(DELETED))


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


class DeploymentDraft(Base):
    """A deployment that its user is still putting together, on the wizard's pages. `form` is as it was typed."""

    __tablename__ = "deployment_drafts"
    __table_args__ = (Index("ix_deployment_drafts_user_id_updated_at", "user_id", "updated_at"),)

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # The project that was chosen, where it was no repository.
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    repository: Mapped[str] = mapped_column(String(255))
    default_branch: Mapped[str] = mapped_column(String(255))
    branches: Mapped[list[str]] = mapped_column(JSONB)
    form: Mapped[dict[str, str]] = mapped_column(JSONB, default=dict, server_default="{}")
    # Encrypted JSON: the rows of the table of environment variables.
    variables: Mapped[str | None] = mapped_column(Text)
    # What GitHub's files say that the build will find.
    detected: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # Once it is one.
    deployment_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("deployments.id", ondelete="CASCADE"), index=True
    )
    # When the project that was chosen had last been changed as its settings were copied here.
    project_updated_at: Mapped[datetime | None]
    created_at: Mapped[Created]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now(), index=True)


show_only(DeploymentDraft, or_(DeploymentDraft.project_id.is_(None), DeploymentDraft.project_id.not_in(DELETED)))


class FormerDeployment(Base):
    """A deployment that a host showed until `left_at`: pages opened then may still ask for their scripts."""

    __tablename__ = "former_deployments"
    __table_args__ = (Index("ix_former_deployments_label_left_at", "label", "left_at"),)

    label: Mapped[str] = mapped_column(String(253), primary_key=True)
    deployment_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    left_at: Mapped[datetime]
