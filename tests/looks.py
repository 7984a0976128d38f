"""What probes write down about the platform's services, for tests of those who read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Flask

from autostack.extensions import db
from autostack.status.health import Health, Service
from autostack.status.models import Incident, ServiceStatus


def ago(**span: float) -> datetime:
    """Return the moment so long before now."""
    return datetime.now(UTC) - timedelta(**span)


def look(
    app: Flask,
    service: Service,
    health: Health | str = Health.OPERATIONAL,
    *,
    at: datetime | None = None,
    uptime: float | None = None,
    response_time: int | None = 45,
) -> None:
    """Write down one look at one service."""
    with app.app_context():
        db.session.add(
            ServiceStatus(
                service_name=service,
                status=health,
                uptime_percentage=uptime,
                response_time=response_time,
                last_checked_at=at or ago(seconds=10),
            )
        )
        db.session.commit()


def look_at_all(app: Flask, **options: object) -> None:
    """Write down one look at each service."""
    for service in Service:
        look(app, service, **options)  # type: ignore[arg-type]


def incident(app: Flask, title: str, started_at: datetime, resolved_at: datetime | None = None) -> None:
    """Write down an incident of the database."""
    with app.app_context():
        db.session.add(
            Incident(
                title=title,
                description="A disk was <full>.",
                status="resolved" if resolved_at else "investigating",
                severity="minor",
                affected_services=[Service.DATABASE],
                started_at=started_at,
                resolved_at=resolved_at,
            )
        )
        db.session.commit()
