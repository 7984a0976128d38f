"""What the analytics API answers: the spec's lists, each under its own key."""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from autostack.analytics.service import Day, Metrics, SixWeeks, Week
from autostack.analytics.tally import Tally
from autostack.deployments.status import Status
from autostack.web.schemas import Schema
from autostack.web.times import duration, month_day


class KeyFiguresOut(Schema):
    """Changes compare the last 30 days with the 30 before: percent, points for the rate, null without a before."""

    total_deployments: int = Field(examples=[915])
    deployments_change: float | None = Field(examples=[12.5])
    success_rate: float | None = Field(examples=[92.6])
    success_change: float | None = Field(examples=[2.3])
    avg_build_time: str | None = Field(examples=["2m 8s"])
    build_time_change: float | None = Field(examples=[-15.8])
    active_projects: int = Field(examples=[47])
    projects_change: float | None = Field(examples=[8.2])

    @classmethod
    def of(cls, metrics: Metrics) -> KeyFiguresOut:
        return cls(
            total_deployments=metrics.total_deployments,
            deployments_change=metrics.deployments_change,
            success_rate=metrics.success_rate,
            success_change=metrics.success_change,
            avg_build_time=duration(metrics.build_time_s),
            build_time_change=metrics.build_time_change,
            active_projects=metrics.active_projects,
            projects_change=metrics.projects_change,
        )


class DayOfDeploymentsOut(Schema):
    date: str = Field(examples=["Jan 1"])
    day: dt.date = Field(examples=["2025-01-01"])
    deployments: int = Field(examples=[12])

    @classmethod
    def of(cls, day: Day) -> DayOfDeploymentsOut:
        return cls(date=month_day(day.date), day=day.date, deployments=day.tally.deployments)


class WeekOfRatesOut(Schema):
    """A week, from `day` on: percent of what succeeded or failed in it, null where nothing did."""

    date: str = Field(examples=["Week 1"])
    day: dt.date = Field(examples=["2025-01-01"])
    success: float | None = Field(examples=[95.0])
    failed: float | None = Field(examples=[5.0])

    @classmethod
    def of(cls, week: Week) -> WeekOfRatesOut:
        rates = {"success": week.tally.success_rate, "failed": week.tally.failure_rate}
        return cls(date=f"Week {week.number}", day=week.first_day, **rates)


class DayOfBuildsOut(Schema):
    """A day's build times in seconds, null where nothing was built."""

    date: str = Field(examples=["Jan 1"])
    day: dt.date = Field(examples=["2025-01-01"])
    avg_duration: int | None = Field(examples=[145])
    min_duration: int | None = Field(examples=[90])
    max_duration: int | None = Field(examples=[220])

    @classmethod
    def of(cls, day: Day) -> DayOfBuildsOut:
        return cls(
            date=month_day(day.date),
            day=day.date,
            avg_duration=_whole(day.tally.mean_s),
            min_duration=day.tally.min_s,
            max_duration=day.tally.max_s,
        )


class BuildTimesOut(Schema):
    """The build times of all six weeks together, in seconds; null where nothing was built."""

    average: int | None = Field(examples=[128])
    fastest: int | None = Field(examples=[42])
    slowest: int | None = Field(examples=[310])

    @classmethod
    def of(cls, tally: Tally) -> BuildTimesOut:
        return cls(average=_whole(tally.mean_s), fastest=tally.min_s, slowest=tally.max_s)


class ResourceOut(Schema):
    """How much of a resource is in use, in percent."""

    name: str = Field(examples=["CPU"])
    value: float = Field(examples=[65])


class StatusShareOut(Schema):
    name: str = Field(examples=["Success"])
    value: int = Field(examples=[847])


class HourOfDeploymentsOut(Schema):
    """An hour of the day in UTC."""

    hour: str = Field(examples=["00:00"])
    deployments: int = Field(examples=[2])


class KeyMetricsOut(Schema):
    metrics: KeyFiguresOut


class DeploymentFrequencyOut(Schema):
    """The days of the last six weeks, oldest first."""

    deployment_frequency: list[DayOfDeploymentsOut]


class SuccessRatesOut(Schema):
    """The last six weeks, oldest first."""

    success_rates: list[WeekOfRatesOut]


class BuildDurationsOut(Schema):
    """The days of the last six weeks, oldest first."""

    build_durations: list[DayOfBuildsOut]
    overall: BuildTimesOut


class ResourceUsageOut(Schema):
    """Empty where nothing is measured."""

    resource_usage: list[ResourceOut]


class DeploymentStatusOut(Schema):
    """How the deployments of the last six weeks ended."""

    deployment_status: list[StatusShareOut]


class HourlyDeploymentsOut(Schema):
    """The deployments of the last six weeks, by the hour of the day."""

    hourly_deployments: list[HourOfDeploymentsOut]


class ChartsOut(Schema):
    """All that is charted of a user's deployments."""

    frequency: list[DayOfDeploymentsOut]
    hours: list[HourOfDeploymentsOut]
    rates: list[WeekOfRatesOut]
    shares: list[StatusShareOut]
    durations: list[DayOfBuildsOut]
    overall: BuildTimesOut

    @classmethod
    def of(cls, seen: SixWeeks) -> ChartsOut:
        overall = seen.overall
        return cls(
            frequency=[DayOfDeploymentsOut.of(day) for day in seen.days],
            hours=[HourOfDeploymentsOut(hour=f"{at:02}:00", deployments=count) for at, count in enumerate(seen.hours)],
            rates=[WeekOfRatesOut.of(week) for week in seen.weeks],
            shares=_shares(overall),
            durations=[DayOfBuildsOut.of(day) for day in seen.days],
            overall=BuildTimesOut.of(overall),
        )


def _shares(tally: Tally) -> list[StatusShareOut]:
    ends = {Status.SUCCESS: tally.succeeded, Status.FAILED: tally.failed, Status.CANCELLED: tally.cancelled}
    return [StatusShareOut(name=status.capitalize(), value=count) for status, count in ends.items()]


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
