"""The JSON API of analytics: the figures of the signed-in user's deployments."""

from __future__ import annotations

from flask import Blueprint

from autostack.analytics import figures
from autostack.analytics.schemas import (
    BuildDurationsOut,
    DeploymentFrequencyOut,
    DeploymentStatusOut,
    HourlyDeploymentsOut,
    KeyMetricsOut,
    ResourceUsageOut,
    SuccessRatesOut,
)
from autostack.web.access import me, signed_in
from autostack.web.operations import operation

api = Blueprint("analytics_api", __name__, url_prefix="/api/analytics")


@api.get("/metrics")
@signed_in
@operation()
def show_metrics() -> KeyMetricsOut:
    """Show your key figures."""
    return KeyMetricsOut(metrics=figures.key_figures(me()))


@api.get("/deployment-frequency")
@signed_in
@operation()
def show_deployment_frequency() -> DeploymentFrequencyOut:
    """Show how often you deployed on each day of six weeks."""
    return DeploymentFrequencyOut(deployment_frequency=figures.charts(me()).frequency)


@api.get("/success-rates")
@signed_in
@operation()
def show_success_rates() -> SuccessRatesOut:
    """Show how much of what you deployed succeeded, week by week."""
    return SuccessRatesOut(success_rates=figures.charts(me()).rates)


@api.get("/build-durations")
@signed_in
@operation()
def show_build_durations() -> BuildDurationsOut:
    """Show how long your builds took on each day of six weeks."""
    charts = figures.charts(me())
    return BuildDurationsOut(build_durations=charts.durations, overall=charts.overall)


@api.get("/resource-usage")
@signed_in
@operation()
def show_resource_usage() -> ResourceUsageOut:
    """Show how much of the platform's machines is in use.

    Empty: nothing measures it yet.
    """
    return ResourceUsageOut(resource_usage=figures.resource_usage())


@api.get("/deployment-status")
@signed_in
@operation()
def show_deployment_status() -> DeploymentStatusOut:
    """Show how your deployments of six weeks ended."""
    return DeploymentStatusOut(deployment_status=figures.charts(me()).shares)


@api.get("/hourly-deployments")
@signed_in
@operation()
def show_hourly_deployments() -> HourlyDeploymentsOut:
    """Show at which hours of the day you deploy."""
    return HourlyDeploymentsOut(hourly_deployments=figures.charts(me()).hours)
