"""How the platform itself is doing: its services' health and what went wrong with them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index, Numeric, String, Text, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from autostack.columns import Created, Id, Updated
from autostack.extensions import Base


class ServiceStatus(Base):
    """One look at one service: `status` is a `health.Health`, `response_time` in milliseconds.

    `uptime_percentage` is of the time that the look stands for; without it, it stands for a moment.
    """

    __tablename__ = "service_status"
    # The newest look at each service, and those of 90 days.
    __table_args__ = (Index("ix_service_status_service_name_last_checked_at", "service_name", "last_checked_at"),)

    id: Mapped[Id]
    service_name: Mapped[str] = mapped_column(String(100))
    status: Mapped[str] = mapped_column(String(50))
    uptime_percentage: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    response_time: Mapped[int | None]
    last_checked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[Created]


class Incident(Base):
    """A time in which a service was degraded or down."""

    __tablename__ = "incidents"

    id: Mapped[Id]
    title: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(50))
    severity: Mapped[str | None] = mapped_column(String(50))
    affected_services: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    started_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
