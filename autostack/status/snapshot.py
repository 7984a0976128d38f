"""Everything that the status page shows, made at most once in three seconds, however many look at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from autostack.analytics import service as analytics
from autostack.analytics.service import Metrics
from autostack.status import health, service
from autostack.status.remembering import remembered
from autostack.status.schemas import HistoryDayOut, IncidentOut, PlatformFiguresOut, ServiceOut, StatusOut
from autostack.status.service import DayOfService

INTERVAL_S = 3
# What takes long to count changes slowly.
FIGURES_FOR_S = 60


@dataclass(frozen=True)
class Figures:
    """What is counted over many rows."""

    days: list[DayOfService]
    metrics: Metrics


def take() -> StatusOut:
    """Return how the platform is doing, as of a few seconds ago at most."""
    return remembered("snapshot", INTERVAL_S, StatusOut, _look)


def _look() -> StatusOut:
    now = datetime.now(UTC)
    figures = remembered("figures", FIGURES_FOR_S, Figures, lambda: _count(now))
    services = service.conditions(figures.days, now)
    incidents = service.recent_incidents(now)
    has_open_incident = any(incident.resolved_at is None for incident in incidents)
    return StatusOut(
        status=health.overall([one.health for one in services], has_open_incident),
        uptime=service.uptime_of_all(services),
        services=[ServiceOut.of(one) for one in services],
        metrics=PlatformFiguresOut.of(figures.metrics),
        history=[HistoryDayOut.of(day) for day in service.history(figures.days, now)],
        incidents=[IncidentOut.of(incident) for incident in incidents],
    )


def _count(now: datetime) -> Figures:
    return Figures(service.days_of_services(now), analytics.metrics(None, now))
