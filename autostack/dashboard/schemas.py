"""What the dashboard's API answers: the spec's shape."""

from __future__ import annotations

from pydantic import Field

from autostack.analytics.service import Stats
from autostack.web.schemas import Schema
from autostack.web.times import mean, signed


class StatsOut(Schema):
    """The cards of the dashboard. What never happened is null: without a deployment that ended there is no rate."""

    total_deployments: int = Field(examples=[24])
    weekly_change: str = Field(examples=["+3"], description="The last 7 days, less the 7 days before.")
    active_projects: int = Field(examples=[8], description="Projects deployed within the last 30 days.")
    today_deployments: int = Field(examples=[2], description="Since midnight UTC.")
    success_rate: float | None = Field(
        examples=[96.0], description="Percent of the last 30 days' deployments that succeeded or failed."
    )
    monthly_success_change: float | None = Field(
        examples=[2.0], description="That rate less the rate of the 30 days before, in points."
    )
    avg_deploy_time: str | None = Field(
        examples=["2.4m"], description="Of the last 30 days' deployments that succeeded, from build to live."
    )
    time_improvement: str | None = Field(
        examples=["-18s"], description="That time less the time of the 30 days before: with a minus it is faster."
    )

    @classmethod
    def of(cls, stats: Stats) -> StatsOut:
        return cls(
            total_deployments=stats.total_deployments,
            weekly_change=f"{stats.weekly_change:+d}" if stats.weekly_change else "0",
            active_projects=stats.active_projects,
            today_deployments=stats.today_deployments,
            success_rate=stats.success_rate,
            monthly_success_change=stats.monthly_success_change,
            avg_deploy_time=mean(stats.deploy_time_s),
            time_improvement=signed(stats.time_improvement_s),
        )


class DashboardOut(Schema):
    stats: StatsOut
