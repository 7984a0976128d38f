"""What the proxies counted for a project, day by day (UTC).

Requests, bytes and statuses are those of production, whoever answers them: a CDN's own answers are not among them.
Visitors are told apart by address and browser within a day, so that their numbers of several days do not add up. Names
are the most frequent ones, and how often they were asked for at least.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Date, cast, func, select

from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db
from autostack.projects.models import Project
from autostack.sites.traffic import Kind
from autostack.traffic.models import TrafficHour, TrafficName, TrafficVisitors

NAMES_SHOWN = 10
MAX_DEPLOYMENTS = 500


@dataclass(frozen=True)
class Requests:
    """Requests with the bytes that were sent for them, and how they were answered: 2xx, 3xx, 4xx, 5xx."""

    requests: int = 0
    sent_bytes: int = 0
    succeeded: int = 0
    redirected: int = 0
    refused: int = 0
    failed: int = 0

    def __add__(self, other: Requests) -> Requests:
        return Requests(*(mine + theirs for mine, theirs in zip(self._values(), other._values(), strict=True)))

    def _values(self) -> tuple[int, ...]:
        return (self.requests, self.sent_bytes, self.succeeded, self.redirected, self.refused, self.failed)


@dataclass(frozen=True)
class Day:
    """One day: what was asked for, about how many visitors asked, and the deployments that were put live."""

    date: dt.date
    counted: Requests
    visitors: int
    deployments: list[Deployment] = field(default_factory=list)


@dataclass(frozen=True)
class Named:
    name: str
    requests: int


@dataclass(frozen=True)
class Traffic:
    """Some days, of which today is the last, and the most frequent names in them, the most frequent first."""

    days: list[Day]
    top: Mapping[Kind, list[Named]]

    @property
    def total(self) -> Requests:
        return sum((day.counted for day in self.days), Requests())

    @property
    def visitors_today(self) -> int:
        return self.days[-1].visitors

    @property
    def visitors_a_day(self) -> int:
        """The mean, from the first day on that had any."""
        first = next((at for at, day in enumerate(self.days) if day.visitors), len(self.days) - 1)
        counted = self.days[first:]
        return round(sum(day.visitors for day in counted) / len(counted))


def traffic_of(project: Project, days: int, now: dt.datetime | None = None) -> Traffic:
    """Return what was asked of a project's production in the last `days` days."""
    today = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).date()
    dates = [today - dt.timedelta(days=ago) for ago in reversed(range(days))]
    counted, visitors = _counted(project, dates[0]), _visitors(project, dates[0])
    deployments = _put_live(project, dates[0])
    return Traffic(
        [Day(date, counted.get(date, Requests()), visitors.get(date, 0), deployments.get(date, [])) for date in dates],
        _top(project, dates[0]),
    )


def _counted(project: Project, first: dt.date) -> dict[dt.date, Requests]:
    day = cast(TrafficHour.hour, Date)
    columns = (getattr(TrafficHour, name) for name in Requests.__dataclass_fields__)
    sums = select(day, *(func.sum(column) for column in columns)).group_by(day)
    mine = sums.where(TrafficHour.project_id == project.id, ~TrafficHour.is_preview)
    return {row[0]: Requests(*map(int, row[1:])) for row in db.session.execute(mine.where(TrafficHour.hour >= first))}


def _visitors(project: Project, first: dt.date) -> dict[dt.date, int]:
    days = select(TrafficVisitors.day, TrafficVisitors.estimate)
    mine = days.where(TrafficVisitors.project_id == project.id, TrafficVisitors.day >= first)
    return {row.day: row.estimate for row in db.session.execute(mine)}


def _top(project: Project, first: dt.date) -> dict[Kind, list[Named]]:
    total = func.sum(TrafficName.requests)
    rank = func.row_number().over(partition_by=TrafficName.kind, order_by=(total.desc(), TrafficName.name))
    ranked = (
        select(TrafficName.kind, TrafficName.name, total.label("total"), rank.label("rank"))
        .where(TrafficName.project_id == project.id, TrafficName.day >= first)
        .group_by(TrafficName.kind, TrafficName.name)
        .subquery()
    )
    found: dict[Kind, list[Named]] = {kind: [] for kind in Kind}
    for row in db.session.execute(select(ranked).where(ranked.c.rank <= NAMES_SHOWN).order_by(ranked.c.rank)):
        found[Kind(row.kind)].append(Named(row.name, int(row.total)))
    return found


def _put_live(project: Project, first: dt.date) -> dict[dt.date, list[Deployment]]:
    """Return the deployments of the production branch that succeeded, by day, the oldest first."""
    mine = select(Deployment).where(Deployment.project_id == project.id, Deployment.branch == project.branch)
    good = mine.where(Deployment.status == Status.SUCCESS, Deployment.completed_at >= first)
    newest = db.session.scalars(good.order_by(Deployment.sequence.desc()).limit(MAX_DEPLOYMENTS)).all()
    by_day: dict[dt.date, list[Deployment]] = {}
    for deployment in reversed(newest):
        if deployment.completed_at is not None:
            by_day.setdefault(deployment.completed_at.astimezone(dt.UTC).date(), []).append(deployment)
    return by_day
