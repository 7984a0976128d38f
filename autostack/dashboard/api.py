"""The JSON API of the dashboard."""

from __future__ import annotations

from flask import Blueprint

from autostack import cache
from autostack.accounts.models import User
from autostack.analytics import service as analytics
from autostack.dashboard.schemas import DashboardOut, StatsOut
from autostack.web.access import me, signed_in
from autostack.web.operations import operation

api = Blueprint("dashboard_api", __name__, url_prefix="/api/dashboard")


@api.get("/stats")
@signed_in
@operation()
def show_stats() -> DashboardOut:
    """Show the figures of your dashboard.

    At most a minute old, but for what you deploy, change or delete: that shows at once.
    """
    return DashboardOut(stats=stats_of(me()))


def stats_of(user: User) -> StatsOut:
    """Return the figures of a user's dashboard, for a page or through the API."""
    return cache.recall(StatsOut, user.id, lambda: StatsOut.of(analytics.stats(user)))
