"""Every figure about deployments: one user's, or (without a user) the platform's.

Days, weeks and hours are UTC's. A rate counts what succeeded among what succeeded or failed: cancelling is no failure.
A build time is that of a deployment that succeeded, in seconds from the start of its build until it was live. A figure
of something that never happened is None, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ARRAY, DateTime, Select, bindparam, distinct, func, select

from autostack.accounts.models import User
from autostack.analytics.tally import Tally, change, difference, merged
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db

DAY, WEEK, MONTH = timedelta(days=1), timedelta(days=7), timedelta(days=30)
WEEKS = 6
DAYS = WEEKS * 7
HOURS = 24
ENDS = (Status.SUCCESS, Status.FAILED, Status.CANCELLED)


@dataclass(frozen=True)
class Stats:
    """The dashboard's cards.

    - `total_deployments`: all there are. An empty account shows 0.
    - `weekly_change`: deployments of the last 7 days less those of the 7 days before. Empty: 0.
    - `active_projects`: projects deployed within the last 30 days. Empty: 0.
    - `today_deployments`: deployments since midnight UTC. Empty: 0.
    - `success_rate`: percent, of the last 30 days' deployments that succeeded or failed. None if there are none.
    - `monthly_success_change`: that rate less the rate of the 30 days before, in points. None if either is.
    - `deploy_time_s`: mean build time of the last 30 days' deployments. None if none succeeded.
    - `time_improvement_s`: that mean less the mean of the 30 days before: negative is faster. None if either is.
    """

    total_deployments: int
    weekly_change: int
    active_projects: int
    today_deployments: int
    success_rate: float | None
    monthly_success_change: float | None
    deploy_time_s: float | None
    time_improvement_s: float | None


@dataclass(frozen=True)
class Metrics:
    """The key metrics of analytics, and the platform's own.

    - `total_deployments`: all there are. Empty: 0.
    - `deployments_change`: how many more the last 30 days had than the 30 before, in percent. None if those had none.
    - `success_rate`, `success_change`: as in Stats.
    - `build_time_s`: mean build time of the last 30 days' deployments. None if none succeeded.
    - `build_time_change`: how much longer that is than the mean of the 30 days before, in percent: negative is faster.
      None if either is.
    - `active_projects`: projects deployed within the last 30 days. Empty: 0.
    - `projects_change`: how many more those are than in the 30 days before, in percent. None if those had none.
    """

    total_deployments: int
    deployments_change: float | None
    success_rate: float | None
    success_change: float | None
    build_time_s: float | None
    build_time_change: float | None
    active_projects: int
    projects_change: float | None


@dataclass(frozen=True)
class Day:
    """What was asked for on a day, and how it went."""

    date: date
    tally: Tally


@dataclass(frozen=True)
class Week:
    """Seven days. `number` counts from 1, the oldest week; the last one ends today."""

    number: int
    first_day: date
    tally: Tally


@dataclass(frozen=True)
class SixWeeks:
    """What the charts show: 42 days, of which today is the last, and the deployments in each hour of the day (0 to 23).

    - deployment frequency: each day's `tally.deployments`, 0 on a day without
    - success rates: each week's `tally.success_rate` and `tally.failure_rate`, None in a week in which nothing ended
    - build durations: each day's `tally.mean_s`, `min_s` and `max_s`, None on a day on which nothing succeeded; the
      fastest, average and slowest of all are those of `overall`
    - status distribution: `overall.succeeded`, `failed` and `cancelled`
    """

    days: list[Day]
    hours: list[int]

    @property
    def weeks(self) -> list[Week]:
        parts = [self.days[start : start + 7] for start in range(0, DAYS, 7)]
        return [Week(number, part[0].date, _overall(part)) for number, part in enumerate(parts, 1)]

    @property
    def overall(self) -> Tally:
        return _overall(self.days)


def stats(user: User, now: datetime | None = None) -> Stats:
    """Return the figures of the user's dashboard."""
    now = now or datetime.now(UTC)
    midnight = _midnight(now)
    bounds = sorted([now - 2 * MONTH, now - MONTH, now - 2 * WEEK, now - WEEK, midnight])
    parts = dict(zip(bounds, _tallies(user, bounds), strict=True))

    def since(start: datetime, end: datetime | None = None) -> Tally:
        return merged(part for bound, part in parts.items() if start <= bound and (end is None or bound < end))

    month, month_before = since(now - MONTH), since(now - 2 * MONTH, now - MONTH)
    return Stats(
        total_deployments=_total(user),
        weekly_change=since(now - WEEK).deployments - since(now - 2 * WEEK, now - WEEK).deployments,
        active_projects=_active_projects(user, now - MONTH),
        today_deployments=since(midnight).deployments,
        success_rate=month.success_rate,
        monthly_success_change=difference(month.success_rate, month_before.success_rate),
        deploy_time_s=month.mean_s,
        time_improvement_s=difference(month.mean_s, month_before.mean_s),
    )


def metrics(user: User | None, now: datetime | None = None) -> Metrics:
    """Return the key metrics of a user, or of the platform."""
    now = now or datetime.now(UTC)
    before, month = _tallies(user, [now - 2 * MONTH, now - MONTH])
    projects = _active_projects(user, now - MONTH)
    return Metrics(
        total_deployments=_total(user),
        deployments_change=change(month.deployments, before.deployments),
        success_rate=month.success_rate,
        success_change=difference(month.success_rate, before.success_rate),
        build_time_s=month.mean_s,
        build_time_change=change(month.mean_s, before.mean_s),
        active_projects=projects,
        projects_change=change(projects, _active_projects(user, now - 2 * MONTH, now - MONTH)),
    )


def six_weeks(user: User | None, now: datetime | None = None) -> SixWeeks:
    """Return what a user's charts show, or the platform's."""
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    dates = [today - DAY * ago for ago in reversed(range(DAYS))]
    tallies = _tallies(user, [_start_of(date) for date in dates])
    days = [Day(date, tally) for date, tally in zip(dates, tallies, strict=True)]
    return SixWeeks(days, _by_hour(user, _start_of(dates[0])))


def _overall(days: Iterable[Day]) -> Tally:
    return merged(day.tally for day in days)


def _by_hour(user: User | None, start: datetime) -> list[int]:
    """Return the number of deployments in each hour of the day from `start` on."""
    hour = func.extract("hour", func.timezone("UTC", Deployment.created_at))
    counted = _of(user, hour, func.count()).where(Deployment.created_at >= start).group_by(hour)
    counts = {int(at): count for at, count in db.session.execute(counted)}
    return [counts.get(at, 0) for at in range(HOURS)]


def _tallies(user: User | None, bounds: Sequence[datetime]) -> list[Tally]:
    """Return what happened from each bound to the next, and after the last. `bounds` ascend."""
    edges = bindparam("edges", list(bounds), ARRAY(DateTime(timezone=True)))
    period = func.width_bucket(Deployment.created_at, edges).label("period")
    succeeded = Deployment.status == Status.SUCCESS
    took = Deployment.build_duration
    counted = _of(
        user,
        period,
        func.count(),
        *(func.count().filter(Deployment.status == status) for status in ENDS),
        func.count(took).filter(succeeded),
        func.coalesce(func.sum(took).filter(succeeded), 0),
        func.min(took).filter(succeeded),
        func.max(took).filter(succeeded),
    )
    rows = db.session.execute(counted.where(Deployment.created_at >= bounds[0]).group_by(period))
    found = {number: Tally(*facts) for number, *facts in rows}
    return [found.get(number, Tally()) for number in range(1, len(bounds) + 1)]


def _total(user: User | None) -> int:
    return db.session.scalar(_of(user, func.count())) or 0


def _active_projects(user: User | None, start: datetime, end: datetime | None = None) -> int:
    """Return how many projects were deployed from `start` on, before `end`."""
    deployed = _of(user, func.count(distinct(Deployment.project_id))).where(Deployment.created_at >= start)
    if end is not None:
        deployed = deployed.where(Deployment.created_at < end)
    return db.session.scalar(deployed) or 0


def _of(user: User | None, *columns: Any) -> Select[Any]:
    chosen = select(*columns).select_from(Deployment)
    return chosen if user is None else chosen.where(Deployment.user_id == user.id)


def _midnight(now: datetime) -> datetime:
    return _start_of(now.astimezone(UTC).date())


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
