"""The dashboard: what somebody sees first."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from autostack.extensions import db, redis
from tests.oauth import come_back, sent_to
from tests.pages import links, parsed, text_of
from tests.peers.github import GitHubPeer
from tests.people import Api, Browser, make_person


def test_a_new_account_is_led_to_its_first_deployment(browser: Browser) -> None:
    page = parsed(browser.get("/dashboard"))
    assert text_of(page, ".empty-state h2") == "Deploy your first site"
    assert links(page.select_one(".empty-state")) == {"/deploy"}
    assert not page.select("table")


def test_who_has_a_project_but_no_deployment_is_led_to_the_projects(browser: Browser, project: dict[str, Any]) -> None:
    page = parsed(browser.get("/dashboard"))
    assert text_of(page, ".empty-state h2") == "Nothing deployed yet"
    assert links(page.select_one(".empty-state")) == {"/projects"}


def test_the_five_newest_deployments_are_shown_and_no_strangers(
    browser: Browser, strangers_browser: Browser, api: Api, project: dict[str, Any]
) -> None:
    made = [api.post("/api/deployments", {"projectId": project["id"]}).json["id"] for _ in range(6)]
    page = parsed(browser.get("/dashboard"))
    assert [row["id"] for row in page.select("tbody tr")] == [f"row-{id}" for id in reversed(made[1:])]
    # The newest took the others' place. While it waits the table asks for itself again.
    [overview] = page.select("#overview:has(.figures):has(#deployments-table)")
    assert str(overview["hx-trigger"]).startswith("every 3s")
    assert not parsed(strangers_browser.get("/dashboard")).select("tbody tr")


def figures(browser: Browser) -> dict[str, tuple[str, str]]:
    """Return each figure and what it says below, by its label."""
    cards = parsed(browser.get("/dashboard")).select(".figure")
    texts = [[" ".join(part.get_text(" ").split()) for part in card.select("dt, dd")] for card in cards]
    return {label: (value, change) for label, value, change in texts}


def test_the_figures_are_those_of_the_api(app: Flask, browser: Browser, api: Api, project: dict[str, Any]) -> None:
    ended = [api.post("/api/deployments", {"projectId": project["id"]}).json["id"] for _ in range(4)]
    facts = zip(ended, ["success", "success", "failed", "success"], [90, 60, 5, 20], ["0", "0", "0", "40"], strict=True)
    with app.app_context():
        for id, status, duration, days in facts:
            db.session.execute(
                text(
                    "UPDATE deployments SET status = :status, build_duration = :duration,"
                    " created_at = now() - make_interval(days => :days) WHERE id = :id"
                ),
                {"status": status, "duration": duration, "days": int(days), "id": id},
            )
        db.session.commit()
        redis().flushall()
    stats = api.get("/api/dashboard/stats").json["stats"]
    assert (stats["successRate"], stats["monthlySuccessChange"], stats["timeImprovement"]) == (66.7, -33.3, "+55s")
    assert figures(browser) == {
        "Total deployments": ("4", "+3 on the week before"),
        "Active projects": ("1", "3 deployments today (UTC)"),
        "Success rate": ("66.7%", "-33.3 points on the 30 days before"),
        "Average deploy time": (stats["avgDeployTime"], "+55s on the 30 days before"),
    }


def test_what_never_happened_is_no_zero(browser: Browser, api: Api, project: dict[str, Any]) -> None:
    api.post("/api/deployments", {"projectId": project["id"]})
    shown = figures(browser)
    assert shown["Success rate"] == ("– None yet", "Nothing has succeeded or failed in the last 30 days")
    assert shown["Average deploy time"] == ("– None yet", "Nothing has gone live in the last 30 days")


def test_every_link_of_the_dashboard_leads_somewhere(browser: Browser, api: Api, project: dict[str, Any]) -> None:
    api.post("/api/deployments", {"projectId": project["id"]})
    for link in links(parsed(browser.get("/dashboard"))):
        if link.startswith("/"):
            assert browser.get(link, follow_redirects=True).status_code == 200, link


def test_nobody_is_sent_to_log_in(nobodys_browser: Browser) -> None:
    assert nobodys_browser.get("/dashboard").location == "/login?next=/dashboard"


# Connect GitHub


@pytest.fixture
def visitor(oauth_app: Flask) -> Browser:
    """The browser of somebody new, where the installation is registered with GitHub."""
    return Browser(oauth_app).sign_in(make_person(oauth_app, "Olga", "olga@example.com"))


def offers_github(browser: Browser) -> bool:
    return bool(parsed(browser.get("/dashboard")).select("#connect-github"))


def test_github_is_offered_until_it_is_connected(visitor: Browser, github: GitHubPeer) -> None:
    assert offers_github(visitor)
    [form] = parsed(visitor.get("/dashboard")).select(".banner form[action*=connect]")
    come_back(visitor, github.decide(sent_to(visitor.post(str(form["action"])))))
    assert not offers_github(visitor)


def test_who_does_not_want_github_is_not_asked_again(visitor: Browser) -> None:
    assert visitor.post("/dashboard/hide-github-banner").location == "/dashboard"
    assert not offers_github(visitor)


def test_an_installation_that_github_does_not_know_offers_no_connection(browser: Browser) -> None:
    assert not offers_github(browser)
    assert "GitHub" not in text_of(parsed(browser.get("/dashboard")), "main")
