"""Every figure that is shown, beside rows that were counted by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from autostack.accounts.models import User
from autostack.analytics import service
from autostack.analytics.service import Metrics, Stats
from autostack.deployments.status import Status
from autostack.extensions import db
from tests.deployments import a_deployment, a_project

# A Wednesday, ten in the morning.
NOW = datetime(2025, 3, 12, 10, 0, tzinfo=UTC)
S, F, C, B, Q = Status.SUCCESS, Status.FAILED, Status.CANCELLED, Status.BUILDING, Status.QUEUED

# How long before NOW, which project, how it ended, how many seconds it took.
ROWS = [
    # Today, which began ten hours ago.
    (timedelta(minutes=5), "blog", B, None),
    (timedelta(hours=9, minutes=59), "blog", S, 100),
    # Yesterday, within the week.
    (timedelta(hours=10, minutes=1), "shop", F, 7),
    (timedelta(days=6, hours=23), "shop", S, 50),
    # The week before.
    (timedelta(days=7, minutes=1), "blog", S, 60),
    (timedelta(days=13), "blog", C, 3),
    # The rest of the month.
    (timedelta(days=20), "docs", S, 30),
    (timedelta(days=29, hours=23), "docs", F, None),
    # The month before.
    (timedelta(days=30, minutes=1), "blog", S, 120),
    (timedelta(days=41), "old", F, 20),
    (timedelta(days=50), "old", F, 25),
    (timedelta(days=59, hours=23), "old", S, None),
    # Before both.
    (timedelta(days=61), "older", S, 9_999),
    (timedelta(days=400), "older", F, 9_999),
]


@pytest.fixture
def rows(app, alice, charlie):
    """Alice's deployments of ROWS; Charlie's one, an hour ago."""
    with app.app_context():
        projects = {name: a_project(alice, name) for name in {row[1] for row in ROWS} | {"empty"}}
        for ago, name, status, took_s in ROWS:
            a_deployment(alice, projects[name], NOW - ago, status, took_s)
        a_deployment(charlie, a_project(charlie, "other"), NOW - timedelta(hours=1), F, 1_000)


@pytest.fixture
def of(app, alice, rows):
    """Ask the service for a figure of Alice's, or (with `platform`) of the platform's."""

    def ask(figure, *, platform=False):
        with app.app_context():
            return figure(None if platform else db.session.get(User, alice.id), NOW)

    return ask


def test_the_dashboards_figures_are_those_counted_by_hand(of):
    assert of(service.stats) == Stats(
        total_deployments=14,
        # Four in the last seven days, two in the seven before.
        weekly_change=2,
        # blog, shop and docs.
        active_projects=3,
        today_deployments=2,
        # Of six that ended otherwise than by being cancelled four succeeded; of four in the month before two did.
        success_rate=66.7,
        monthly_success_change=16.7,
        # (100 + 50 + 60 + 30) / 4, and 120: one that succeeded has no time.
        deploy_time_s=60,
        time_improvement_s=-60,
    )


def test_the_key_metrics_are_those_counted_by_hand(of):
    assert of(service.metrics) == Metrics(
        total_deployments=14,
        # Eight, after four.
        deployments_change=100.0,
        success_rate=66.7,
        success_change=16.7,
        build_time_s=60,
        build_time_change=-50.0,
        active_projects=3,
        # After blog and old.
        projects_change=50.0,
    )


def test_the_platforms_metrics_count_everybodys(of):
    metrics = of(service.metrics, platform=True)
    # Charlie's failed, a ninth in the month, of a fourth project.
    counted = (metrics.total_deployments, metrics.deployments_change, metrics.success_rate, metrics.active_projects)
    assert counted == (15, 125.0, 57.1, 4)


def test_deployments_are_counted_by_utc_day_over_six_weeks_with_zeros_between(of):
    days = {day.date: day.tally.deployments for day in of(service.six_weeks).days}
    assert list(days) == [date(2025, 3, 12) - timedelta(days=ago) for ago in range(41, -1, -1)]
    counted = {day: count for day, count in days.items() if count}
    assert counted == {
        date(2025, 3, 12): 2,
        date(2025, 3, 11): 1,
        date(2025, 3, 5): 2,
        date(2025, 2, 27): 1,
        date(2025, 2, 20): 1,
        date(2025, 2, 10): 2,
        # The 41st day before, at ten in the morning: the first day of the six weeks.
        date(2025, 1, 30): 1,
    }


def test_success_rates_are_those_of_each_week(of):
    weeks = [
        (week.number, week.first_day, week.tally.success_rate, week.tally.failure_rate)
        for week in of(service.six_weeks).weeks
    ]
    assert weeks == [
        (1, date(2025, 1, 30), 0.0, 100.0),
        # The 10th of February: one succeeded, one failed.
        (2, date(2025, 2, 6), 50.0, 50.0),
        (3, date(2025, 2, 13), None, None),
        (4, date(2025, 2, 20), 100.0, 0.0),
        # Two succeeded; what was cancelled counts for neither.
        (5, date(2025, 2, 27), 100.0, 0.0),
        (6, date(2025, 3, 6), 50.0, 50.0),
    ]


def test_build_times_are_those_of_what_succeeded(of):
    weeks = of(service.six_weeks)
    times = {
        day.date: (day.tally.mean_s, day.tally.min_s, day.tally.max_s) for day in weeks.days if day.tally.deployments
    }
    assert times[date(2025, 3, 12)] == (100, 100, 100)
    assert times[date(2025, 3, 5)] == (55, 50, 60)
    # Only a failure: no time, rather than none.
    assert times[date(2025, 3, 11)] == (None, None, None)
    assert (weeks.overall.min_s, weeks.overall.mean_s, weeks.overall.max_s) == (30, 72, 120)


def test_how_deployments_ended_is_counted_over_six_weeks(of):
    overall = of(service.six_weeks).overall
    assert (overall.succeeded, overall.failed, overall.cancelled) == (5, 3, 1)


def test_the_hours_of_the_day_are_utcs(of):
    hours = of(service.six_weeks).hours
    assert len(hours) == 24
    # 9:55; 0:01; 23:59; 11:00 (twice); 9:59 (twice); 10:00 (three times).
    assert {hour: count for hour, count in enumerate(hours) if count} == {0: 1, 9: 3, 10: 3, 11: 2, 23: 1}


def test_an_empty_account_has_no_rate_and_no_time_rather_than_an_invented_one(app, charlie):
    with app.app_context():
        nobody = db.session.get(User, charlie.id)
        assert service.stats(nobody) == Stats(0, 0, 0, 0, None, None, None, None)
        assert service.metrics(nobody) == Metrics(0, None, None, None, None, None, 0, None)
        empty = service.six_weeks(nobody)
        assert [day.tally.deployments for day in empty.days] == [0] * 42
        assert {week.tally.success_rate for week in empty.weeks} == {None}
        assert empty.hours == [0] * 24
        assert (empty.overall.mean_s, empty.overall.min_s, empty.overall.success_rate) == (None, None, None)
