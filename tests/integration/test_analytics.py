"""Analytics, over the API and on its pages: each user's own deployments, and nothing where there is nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask, render_template
from flask_login import login_user

from autostack.accounts.models import User
from autostack.analytics.figures import charts, key_figures
from autostack.analytics.schemas import ResourceOut
from autostack.deployments.status import Status
from autostack.extensions import db
from autostack.status import snapshot
from autostack.status.health import Service
from tests.deployments import a_deployment, a_project
from tests.looks import look, look_at_all
from tests.people import Api, Browser, Person

TABS = {
    "/analytics": "Frequency",
    "/analytics/success": "Success rate",
    "/analytics/durations": "Build duration",
    "/analytics/resources": "Resources",
}
ENDPOINTS = {
    "metrics": "metrics",
    "deployment-frequency": "deploymentFrequency",
    "success-rates": "successRates",
    "build-durations": "buildDurations",
    "resource-usage": "resourceUsage",
    "deployment-status": "deploymentStatus",
    "hourly-deployments": "hourlyDeployments",
}


@pytest.fixture
def noon() -> datetime:
    """Noon of yesterday, UTC."""
    return datetime.now(UTC).replace(hour=12, minute=30, second=0) - timedelta(days=1)


@pytest.fixture
def busy(app: Flask, alice: Person, noon: datetime) -> None:
    """Alice has deployed well, badly and in two minds; 31 days ago once more."""
    with app.app_context():
        project = a_project(alice, "site")
        for took_s in (60, 150):
            a_deployment(alice, project, noon, took_s=took_s)
        for status in (Status.FAILED, Status.CANCELLED):
            a_deployment(alice, project, noon - timedelta(hours=3), status)
        a_deployment(alice, project, noon - timedelta(days=30), took_s=210)


def answer(api: Api, name: str) -> Any:
    answered = api.get(f"/api/analytics/{name}")
    assert answered.status_code == 200, answered.text
    return answered.json[ENDPOINTS[name]]


class Tables(HTMLParser):
    """The rows of a page's tables, by their captions."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.cell: list[str] | None = None
        self.caption: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "caption":
            self.caption = []
        elif tag == "tr":
            self._rows().append([])
        elif tag in {"td", "th"}:
            self.cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption" and self.caption is not None:
            self.found["".join(self.caption)] = []
            self.caption = None
        elif tag in {"td", "th"} and self.cell is not None:
            self._rows()[-1].append("".join(self.cell).strip())
            self.cell = None

    def handle_data(self, data: str) -> None:
        for text in (self.cell, self.caption):
            if text is not None:
                text.append(data)

    def _rows(self) -> list[list[str]]:
        return list(self.found.values())[-1]


def text(page: str) -> str:
    """Return what a page says, in one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.split("<main", 1)[-1]).split())


@pytest.mark.parametrize("path", [*TABS, *(f"/api/analytics/{name}" for name in ENDPOINTS)])
def test_analytics_are_for_signed_in_users(path: str, nobodys_browser: Browser) -> None:
    assert nobodys_browser.get(path).status_code == (401 if path.startswith("/api/") else 302)


def test_who_never_deployed_has_no_figures(api: Api) -> None:
    metrics = answer(api, "metrics")
    assert {name for name, value in metrics.items() if value is not None} == {"totalDeployments", "activeProjects"}
    assert (metrics["totalDeployments"], metrics["activeProjects"]) == (0, 0)
    assert {day["deployments"] for day in answer(api, "deployment-frequency")} == {0}
    assert {(week["success"], week["failed"]) for week in answer(api, "success-rates")} == {(None, None)}
    assert {day["avgDuration"] for day in answer(api, "build-durations")} == {None}
    assert {share["value"] for share in answer(api, "deployment-status")} == {0}
    assert {hour["deployments"] for hour in answer(api, "hourly-deployments")} == {0}
    assert answer(api, "resource-usage") == []


@pytest.mark.usefixtures("busy")
def test_the_key_figures_compare_two_months(api: Api) -> None:
    assert answer(api, "metrics") == {
        "totalDeployments": 5,
        "deploymentsChange": 300.0,
        "successRate": 66.7,
        "successChange": -33.3,
        "avgBuildTime": "1m 45s",
        "buildTimeChange": -50.0,
        "activeProjects": 1,
        "projectsChange": 0.0,
    }


@pytest.mark.usefixtures("busy")
def test_six_weeks_are_told_by_day_week_and_hour(api: Api, noon: datetime) -> None:
    today = datetime.now(UTC).date()
    days = answer(api, "deployment-frequency")
    assert [days[0]["day"], days[-1]["day"], len(days)] == [str(today - timedelta(days=41)), str(today), 42]
    assert [day["deployments"] for day in days[-2:]] == [4, 0]
    assert days[-1]["date"] == f"{today:%b} {today.day}"
    weeks = answer(api, "success-rates")
    assert [week["date"] for week in weeks] == [f"Week {number}" for number in range(1, 7)]
    assert (weeks[-1]["success"], weeks[-1]["failed"]) == (66.7, 33.3)
    assert (weeks[0]["success"], weeks[0]["failed"]) == (None, None)
    builds = answer(api, "build-durations")[-2]
    assert (builds["avgDuration"], builds["minDuration"], builds["maxDuration"]) == (105, 60, 150)
    assert api.get("/api/analytics/build-durations").json["overall"] == {"average": 140, "fastest": 60, "slowest": 210}
    assert answer(api, "deployment-status") == [
        {"name": "Success", "value": 3},
        {"name": "Failed", "value": 1},
        {"name": "Cancelled", "value": 1},
    ]
    hours = {hour["hour"]: hour["deployments"] for hour in answer(api, "hourly-deployments")}
    assert (len(hours), hours["12:00"], hours["09:00"], hours["00:00"]) == (24, 3, 2, 0)


@pytest.mark.usefixtures("busy")
def test_two_users_figures_are_never_mixed(app: Flask, api: Api, strangers_api: Api, charlie: Person) -> None:
    with app.app_context():
        a_deployment(charlie, a_project(charlie, "other"), datetime.now(UTC), took_s=7)
    assert (answer(api, "metrics")["totalDeployments"], answer(strangers_api, "metrics")["totalDeployments"]) == (5, 1)
    for name in ("deployment-frequency", "hourly-deployments"):
        assert sum(one["deployments"] for one in answer(api, name)) == 5
        assert sum(one["deployments"] for one in answer(strangers_api, name)) == 1
    assert sum(share["value"] for share in answer(strangers_api, "deployment-status")) == 1
    assert strangers_api.get("/api/analytics/build-durations").json["overall"]["slowest"] == 7
    assert api.get("/api/analytics/build-durations").json["overall"]["fastest"] == 60
    assert strangers_api.get("/api/status/metrics").json["metrics"]["totalDeployments"] == 6


@pytest.mark.parametrize("path", TABS)
def test_without_a_deployment_a_tab_says_what_to_do(path: str, browser: Browser) -> None:
    page = browser.get(path).text
    said = text(page)
    assert f'aria-current="page">{TABS[path]}</a>' in page
    if path != "/analytics/resources":
        assert "Nothing to chart yet" in said
        assert 'href="/deploy"' in page
    assert "<canvas" not in page
    assert "Success rate – none yet Nothing to measure yet" in said


@pytest.mark.usefixtures("busy")
def test_cards_say_in_words_which_way_a_figure_went(browser: Browser) -> None:
    said = text(browser.get("/analytics").text)
    assert "Total deployments 5 300% more than the 30 days before" in said
    assert "Success rate 66.7% 33.3 points lower than the 30 days before" in said
    assert "Average build time 1m 45s 50% faster than the 30 days before" in said
    assert "Active projects 1 Same as the 30 days before" in said


@pytest.mark.usefixtures("busy")
def test_every_chart_stands_on_a_table_that_says_the_same_as_the_api(browser: Browser, api: Api) -> None:
    frequency = Tables(browser.get("/analytics").text).found
    days = answer(api, "deployment-frequency")
    assert frequency["Deployments a day"][0] == ["Day", "Deployments"]
    assert frequency["Deployments a day"][1:] == [[day["date"], str(day["deployments"])] for day in days]
    assert len(frequency["Deployments by hour of the day"]) == 25
    success = Tables(browser.get("/analytics/success").text).found
    assert success["Success and failure, week by week"][-1][1:] == ["66.7%", "33.3%"]
    assert success["Success and failure, week by week"][1][1:] == ["–none", "–none"]
    assert success["How deployments ended"][1:] == [["Success", "3"], ["Failed", "1"], ["Cancelled", "1"]]
    durations = browser.get("/analytics/durations").text
    assert Tables(durations).found["Build time"][-2][1:] == ["1m 45s", "1m 0s", "2m 30s"]
    assert "Fastest build 1m 0s Of the last six weeks Average build 2m 20s" in text(durations)


def test_a_chart_of_nothing_says_so(app: Flask, alice: Person, browser: Browser) -> None:
    with app.app_context():
        a_deployment(alice, a_project(alice, "old"), datetime.now(UTC) - timedelta(days=50), took_s=7)
    page = browser.get("/analytics").text
    assert "<canvas" not in page
    assert text(page).count("Nothing in the last six weeks.") == 2
    assert "Fastest build – none yet Nothing to measure yet" in text(browser.get("/analytics/durations").text)


def test_the_resources_tab_shows_what_is_known_of_the_system(app: Flask, browser: Browser) -> None:
    look_at_all(app)
    look(app, Service.CDN, "down")
    said = text(browser.get("/analytics/resources").text)
    assert "Resource usage is not measured yet" in said
    assert "API Gateway 100.0% up in 90 days Operational" in said
    assert "CDN 50.0% up in 90 days Down" in said


def test_resources_that_are_measured_are_shown_as_chart_table_and_bars(app: Flask, alice: Person) -> None:
    with app.test_request_context("/analytics/resources"):
        user = db.session.get_one(User, alice.id)
        login_user(user)
        page = render_template(
            "analytics/resources.html",
            metrics=key_figures(user),
            charts=charts(user),
            resources=[ResourceOut(name="CPU", value=65)],
            status=snapshot.take(),
        )
    assert Tables(page).found["Resource usage"][1:] == [["CPU", "65.0%"]]
    assert 'max="100" value="65.0"' in page
    assert 'data-chart="rows"' in page
