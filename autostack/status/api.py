"""The JSON API of the platform's own state. Anybody may ask."""

from __future__ import annotations

from flask import Blueprint

from autostack.status import snapshot
from autostack.status.schemas import HistoryOut, IncidentsOut, PlatformMetricsOut, ServicesOut
from autostack.web.access import public
from autostack.web.operations import operation

api = Blueprint("status_api", __name__, url_prefix="/api/status")


@api.get("/services")
@public
@operation()
def show_services() -> ServicesOut:
    """Show how each service is doing."""
    return ServicesOut(services=snapshot.take().services)


@api.get("/metrics")
@public
@operation()
def show_metrics() -> PlatformMetricsOut:
    """Show the platform's figures."""
    return PlatformMetricsOut(metrics=snapshot.take().metrics)


@api.get("/history")
@public
@operation()
def show_history() -> HistoryOut:
    """Show the uptime and incidents of the last 90 days."""
    return HistoryOut(history=snapshot.take().history)


@api.get("/incidents")
@public
@operation()
def show_incidents() -> IncidentsOut:
    """Show recent incidents."""
    return IncidentsOut(incidents=snapshot.take().incidents)
