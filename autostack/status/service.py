"""How the platform's services are and were doing, from what the probes wrote down. Days are UTC's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import ARRAY, Text, case, func, literal, or_, select

from autostack.extensions import db
from autostack.status.health import Health, Service
from autostack.status.models import Incident, ServiceStatus

DAYS = 90
RECENT_INCIDENTS = 20
# Older than this, a look says nothing about now.
STALE_AFTER = timedelta(minutes=5)
WORKING = (Health.OPERATIONAL, Health.DEGRADED)


@dataclass(frozen=True)
class Condition:
    """How one service is doing. `uptime` is percent of 90 days, `response_time_ms` the last look's; None if unknown."""

    service: Service
    health: Health
    uptime: float | None
    response_time_ms: int | None
    checked_at: datetime | None


@dataclass(frozen=True)
class DayOfService:
    """All looks at one service on one day: how many, and the mean of the percent that it was up."""

    service: Service
    day: date
    looks: int
    uptime: float


@dataclass(frozen=True)
class Day:
    """One day's uptime in percent, of each service that was looked at and of all of them, and its incidents."""

    day: date
    days_ago: int
    uptime: float | None
    services: dict[Service, float]
    incidents: int


def days_of_services(now: datetime) -> list[DayOfService]:
    """Return what was seen of each service on each of the last 90 days on which it was looked at."""
    # A look that measured no share of its own counts as its health says; one that found out nothing does not count.
    as_said = case((ServiceStatus.status == Health.DOWN, 0), (ServiceStatus.status.in_(WORKING), 100))
    measured = func.coalesce(ServiceStatus.uptime_percentage, as_said)
    day = func.timezone("UTC", ServiceStatus.last_checked_at).cast(db.Date)
    seen = (
        select(ServiceStatus.service_name, day, func.count(measured), func.avg(measured))
        .where(ServiceStatus.service_name.in_(list(Service)), ServiceStatus.last_checked_at >= _first_moment(now))
        .group_by(ServiceStatus.service_name, day)
        .having(func.count(measured) > 0)
    )
    rows = db.session.execute(seen)
    return [DayOfService(Service(name), day, looks, float(uptime)) for name, day, looks, uptime in rows]


def conditions(days: Sequence[DayOfService], now: datetime) -> list[Condition]:
    """Return how each service is doing now, and did on those days."""
    latest = _latest_looks()
    return [_condition(service, latest.get(service), days, now) for service in Service]


def uptime_of_all(conditions: Iterable[Condition]) -> float | None:
    """Return the mean uptime of those services that have one, in percent."""
    known = [condition.uptime for condition in conditions if condition.uptime is not None]
    return _percent(sum(known) / len(known)) if known else None


def history(days: Sequence[DayOfService], now: datetime) -> list[Day]:
    """Return the last 90 days, oldest first, today last."""
    spans = _spans_of_incidents(now)
    today = now.astimezone(UTC).date()
    return [
        _day(
            today - timedelta(days=ago), ago, [seen for seen in days if seen.day == today - timedelta(days=ago)], spans
        )
        for ago in reversed(range(DAYS))
    ]


def recent_incidents(now: datetime) -> list[Incident]:
    """Return the incidents that are not over, and those that began in the last 90 days, newest first."""
    recent = or_(Incident.resolved_at.is_(None), Incident.started_at >= _first_moment(now))
    found = select(Incident).where(recent).order_by(Incident.resolved_at.isnot(None), Incident.started_at.desc())
    return list(db.session.scalars(found.limit(RECENT_INCIDENTS)))


def _latest_looks() -> dict[Service, ServiceStatus]:
    names = select(func.unnest(literal(list(Service), ARRAY(Text))).label("name")).subquery()
    newest_first = ServiceStatus.last_checked_at.desc()
    of_name = select(ServiceStatus).where(ServiceStatus.service_name == names.c.name).order_by(newest_first)
    latest = of_name.limit(1).lateral()
    looks = db.session.scalars(select(db.aliased(ServiceStatus, latest)).select_from(names.join(latest, literal(True))))
    return {Service(look.service_name): look for look in looks}


def _condition(service: Service, look: ServiceStatus | None, days: Iterable[DayOfService], now: datetime) -> Condition:
    uptime = _uptime([seen for seen in days if seen.service is service])
    if look is None:
        return Condition(service, Health.UNKNOWN, uptime, None, None)
    if now - look.last_checked_at > STALE_AFTER:
        return Condition(service, Health.UNKNOWN, uptime, None, look.last_checked_at)
    return Condition(service, Health(look.status), uptime, look.response_time, look.last_checked_at)


def _uptime(days: Sequence[DayOfService]) -> float | None:
    looks = sum(seen.looks for seen in days)
    return _percent(sum(seen.uptime * seen.looks for seen in days) / looks) if looks else None


def _day(day: date, ago: int, seen: Sequence[DayOfService], spans: Iterable[tuple[date, date]]) -> Day:
    services = {one.service: _percent(one.uptime) for one in seen}
    uptime = _percent(sum(one.uptime for one in seen) / len(seen)) if seen else None
    return Day(day, ago, uptime, services, sum(first <= day <= last for first, last in spans))


def _spans_of_incidents(now: datetime) -> list[tuple[date, date]]:
    """Return the first and last day of each incident that touched the last 90 days."""
    touching = or_(Incident.resolved_at.is_(None), Incident.resolved_at >= _first_moment(now))
    rows = db.session.execute(select(Incident.started_at, Incident.resolved_at).where(touching))
    return [(start.astimezone(UTC).date(), (end or now).astimezone(UTC).date()) for start, end in rows]


def _percent(exact: float) -> float:
    """Return two decimals, rounded down: nothing was up all the time that was not."""
    return math.floor(exact * 100 + 1e-6) / 100


def _first_moment(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date() - timedelta(days=DAYS - 1), time(), UTC)
