"""What was counted, hour by hour and day by day (UTC). A project's rows go with it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated

from sqlalchemy import BigInteger, ForeignKey, String, false
from sqlalchemy.orm import Mapped, mapped_column

from autostack.columns import Created
from autostack.extensions import Base
from autostack.sites.traffic import MAX_NAME_CHARACTERS

_Project = Annotated[uuid.UUID, mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)]


class TrafficHour(Base):
    """The requests for a project's production, or for its previews, in one hour."""

    __tablename__ = "traffic_hours"

    project_id: Mapped[_Project]
    hour: Mapped[dt.datetime] = mapped_column(primary_key=True, index=True)
    is_preview: Mapped[bool] = mapped_column(primary_key=True, server_default=false())
    requests: Mapped[int] = mapped_column(BigInteger)
    sent_bytes: Mapped[int] = mapped_column(BigInteger)
    # By the status: 2xx, 3xx, 4xx, 5xx.
    succeeded: Mapped[int] = mapped_column(BigInteger)
    redirected: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)


class TrafficVisitors(Base):
    """Who came on one day, as a number and nothing else: see `autostack.sites.visitors`."""

    __tablename__ = "traffic_visitors"

    project_id: Mapped[_Project]
    day: Mapped[dt.date] = mapped_column(primary_key=True, index=True)
    registers: Mapped[bytes]
    estimate: Mapped[int] = mapped_column(BigInteger)


class TrafficName(Base):
    """One of the most frequent pages, files, missing paths or referrers of a day."""

    __tablename__ = "traffic_names"

    project_id: Mapped[_Project]
    day: Mapped[dt.date] = mapped_column(primary_key=True, index=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME_CHARACTERS), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)


class TrafficBatch(Base):
    """A batch that was gathered: one that arrives again counts no more."""

    __tablename__ = "traffic_batches"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    created_at: Mapped[Created]


class TrafficBudget(Base):
    """How much a project may send in a month, and what happens once it has. Without a row there is no budget."""

    __tablename__ = "traffic_budgets"

    project_id: Mapped[_Project]
    month_gb: Mapped[int] = mapped_column(BigInteger)
    action: Mapped[str] = mapped_column(String(20))
