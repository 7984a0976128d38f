"""What the status API answers, and what its websocket sends."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Literal

from pydantic import Field

from autostack.analytics.service import Metrics
from autostack.status.health import Health
from autostack.status.models import Incident
from autostack.status.service import Condition, Day
from autostack.web.schemas import Schema, Time
from autostack.web.times import mean

Change = float | None


class ServiceOut(Schema):
    """A service. `uptime` is percent of the last 90 days, `responseTime` milliseconds; null until it was probed."""

    name: str = Field(examples=["API Gateway"])
    status: Health
    uptime: float | None = Field(examples=[99.98])
    response_time: int | None = Field(examples=[45])
    checked_at: Time | None

    @classmethod
    def of(cls, condition: Condition) -> ServiceOut:
        return cls(
            name=condition.service,
            status=condition.health,
            uptime=condition.uptime,
            response_time=condition.response_time_ms,
            checked_at=condition.checked_at,
        )


class PlatformFiguresOut(Schema):
    """Everybody's deployments. Changes compare the last 30 days with the 30 before: percent, points for the rate."""

    total_deployments: int = Field(examples=[12458])
    deployment_change: Change = Field(examples=[15.3])
    active_projects: int = Field(examples=[3247])
    project_change: Change = Field(examples=[8.2])
    avg_deploy_time: str | None = Field(examples=["42s"])
    time_change: Change = Field(examples=[-12.5])
    success_rate: str | None = Field(examples=["99.8%"])
    success_change: Change = Field(examples=[0.3])

    @classmethod
    def of(cls, metrics: Metrics) -> PlatformFiguresOut:
        rate = metrics.success_rate
        return cls(
            total_deployments=metrics.total_deployments,
            deployment_change=metrics.deployments_change,
            active_projects=metrics.active_projects,
            project_change=metrics.projects_change,
            avg_deploy_time=mean(metrics.build_time_s),
            time_change=metrics.build_time_change,
            success_rate=None if rate is None else f"{rate:g}%",
            success_change=metrics.success_change,
        )


class HistoryDayOut(Schema):
    """A day. Uptimes are percent, null where nobody looked; `incidents` are those that were under way."""

    date: str = Field(examples=["30 days ago"])
    day: dt.date = Field(examples=["2024-12-21"])
    uptime: float | None = Field(examples=[99.95])
    incidents: int = Field(examples=[2])
    services: dict[str, float] = Field(examples=[{"API Gateway": 99.95, "Database": 100.0}])

    @classmethod
    def of(cls, seen: Day) -> HistoryDayOut:
        return cls(
            date=_days_ago(seen.days_ago),
            day=seen.day,
            uptime=seen.uptime,
            incidents=seen.incidents,
            services={service.value: uptime for service, uptime in seen.services.items()},
        )


class IncidentOut(Schema):
    """A time in which something was degraded or down. `resolvedAt` is null while it is."""

    id: uuid.UUID
    title: str = Field(examples=["Slow answers"])
    description: str | None = Field(examples=["A disk was full."])
    status: str = Field(examples=["resolved"])
    severity: str | None = Field(examples=["minor"])
    affected_services: list[str] = Field(examples=[["Database"]])
    started_at: Time
    resolved_at: Time | None

    @classmethod
    def of(cls, incident: Incident) -> IncidentOut:
        return cls(
            id=incident.id,
            title=incident.title,
            description=incident.description,
            status=incident.status,
            severity=incident.severity,
            affected_services=incident.affected_services or [],
            started_at=incident.started_at,
            resolved_at=incident.resolved_at,
        )


class ServicesOut(Schema):
    services: list[ServiceOut]


class PlatformMetricsOut(Schema):
    metrics: PlatformFiguresOut


class HistoryOut(Schema):
    """The last 90 days, oldest first."""

    history: list[HistoryDayOut]


class IncidentsOut(Schema):
    """Newest first, those that are not over before all others."""

    incidents: list[IncidentOut]


class StatusOut(Schema):
    """All of the above at one moment: what the page shows. `uptime` is all services' mean."""

    status: Health
    uptime: float | None = Field(examples=[99.98])
    services: list[ServiceOut]
    metrics: PlatformFiguresOut
    history: list[HistoryDayOut]
    incidents: list[IncidentOut]


class ServiceUpdateOut(Schema):
    """The spec's `service_update`: a service as it is now, its fields those of `ServiceOut`."""

    type: Literal["service_update"] = "service_update"
    service: str
    status: Health
    uptime: float | None
    response_time: int | None

    @classmethod
    def of(cls, service: ServiceOut) -> ServiceUpdateOut:
        return cls(
            service=service.name,
            status=service.status,
            uptime=service.uptime,
            response_time=service.response_time,
        )


class MetricsUpdateOut(Schema):
    """The spec's `metrics_update`: the platform's figures, all those of `GET /api/status/metrics`."""

    type: Literal["metrics_update"] = "metrics_update"
    metrics: PlatformFiguresOut


def _days_ago(days: int) -> str:
    return {0: "Today", 1: "1 day ago"}.get(days, f"{days} days ago")
