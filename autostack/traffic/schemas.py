"""What the traffic API takes and answers."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated

from pydantic import Field

from autostack.deployments.models import Deployment
from autostack.sites.traffic import Kind
from autostack.traffic.budgets import Action, Budget, State
from autostack.traffic.service import Day, Named, Requests, Traffic
from autostack.web.schemas import WHOLE, Schema, Time

MAX_DAYS = 90
MAX_GB = 1_000_000


class TrafficIn(Schema):
    """How many days to tell of; today is the last."""

    days: int = Field(30, ge=1, le=MAX_DAYS, examples=[30])


class BudgetIn(Schema):
    """A budget for each month: `action` is what happens once it is used up."""

    month_gb: Annotated[int, Field(ge=1, le=MAX_GB, examples=[100]), WHOLE]
    action: Action = Field(Action.WARN, examples=["throttle"])


class RequestsOut(Schema):
    """`sentBytes` are those of heads and bodies; the others are requests by their status: 2xx, 3xx, 4xx, 5xx."""

    requests: int = Field(examples=[18230])
    sent_bytes: int = Field(examples=[412_000_000])
    succeeded: int = Field(examples=[17004])
    redirected: int = Field(examples=[1013])
    refused: int = Field(examples=[211])
    failed: int = Field(examples=[2])

    @classmethod
    def of(cls, counted: Requests) -> RequestsOut:
        return cls.model_validate(counted, from_attributes=True)


class WentLiveOut(Schema):
    """A deployment of the production branch that succeeded."""

    id: uuid.UUID
    commit: str | None = Field(examples=["4f2a91c"])
    message: str | None = Field(examples=["Show the spring collection"])
    completed_at: Time

    @classmethod
    def of(cls, deployment: Deployment) -> WentLiveOut:
        return cls(
            id=deployment.id,
            commit=(deployment.commit_hash or "")[:7] or None,
            message=(deployment.commit_message or "").partition("\n")[0] or None,
            completed_at=deployment.completed_at or deployment.created_at,
        )


class TrafficDayOut(RequestsOut):
    """A day (UTC). `visitors` is an estimate; those of several days do not add up."""

    day: dt.date = Field(examples=["2026-05-04"])
    visitors: int = Field(examples=[1240])
    deployments: list[WentLiveOut]

    @classmethod
    def of_day(cls, day: Day) -> TrafficDayOut:
        counted = RequestsOut.of(day.counted).model_dump()
        deployments = [WentLiveOut.of(one) for one in day.deployments]
        return cls(**counted, day=day.date, visitors=day.visitors, deployments=deployments)


class NamedOut(Schema):
    """How often something was asked for, at least."""

    name: str = Field(examples=["/about"])
    requests: int = Field(examples=[930])


class BudgetOut(Schema):
    month_gb: int = Field(examples=[100])
    action: Action = Field(examples=["throttle"])
    used_bytes: int = Field(examples=[83_000_000_000])
    percent: int = Field(examples=[83])
    state: State = Field(examples=["near"])

    @classmethod
    def of(cls, budget: Budget) -> BudgetOut:
        return cls.model_validate(budget, from_attributes=True)


class TrafficOut(Schema):
    """What was asked of a project's production. `monthBytes` is what all its sites have sent this month."""

    total: RequestsOut
    days: list[TrafficDayOut]
    top_pages: list[NamedOut]
    top_files: list[NamedOut]
    not_found: list[NamedOut]
    referrers: list[NamedOut]
    month_bytes: int = Field(examples=[83_000_000_000])
    budget: BudgetOut | None

    @classmethod
    def of(cls, traffic: Traffic, budget: Budget | None, month_bytes: int) -> TrafficOut:
        return cls(
            total=RequestsOut.of(traffic.total),
            days=[TrafficDayOut.of_day(day) for day in traffic.days],
            top_pages=_named(traffic.top[Kind.PAGE]),
            top_files=_named(traffic.top[Kind.FILE]),
            not_found=_named(traffic.top[Kind.MISSING]),
            referrers=_named(traffic.top[Kind.REFERRER]),
            month_bytes=month_bytes,
            budget=BudgetOut.of(budget) if budget else None,
        )


def _named(names: list[Named]) -> list[NamedOut]:
    return [NamedOut(name=one.name, requests=one.requests) for one in names]
