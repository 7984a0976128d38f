"""Domains of a project's own."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from autostack.columns import Created, Id, Updated
from autostack.domains.status import DomainStatus
from autostack.extensions import Base
from autostack.projects.models import Project


class Domain(Base):
    """A domain that a project is to be served at. `name` is as DNS has it: lower-case ASCII.

    Any project may say that a domain is its own; it is served for the one whose owner has shown it.
    """

    __tablename__ = "domains"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index("uq_domains_served_name", "name", unique=True, postgresql_where=text("status <> 'pending'")),
    )

    id: Mapped[Id]
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(253))
    # What the TXT record must hold: the same for all of a project's domains, so that one record serves a name and www.
    token: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(
        String(20), server_default=DomainStatus.PENDING, default=DomainStatus.PENDING.value
    )
    redirect_to_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("domains.id", ondelete="SET NULL"), index=True)
    # What the last look at DNS found wrong, for its owner to read.
    problem: Mapped[str | None] = mapped_column(Text)
    checked_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    next_check_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]

    project: Mapped[Project] = relationship()
    redirect_to: Mapped[Domain | None] = relationship(remote_side="Domain.id")

    @property
    def state(self) -> DomainStatus:
        return DomainStatus(self.status)
