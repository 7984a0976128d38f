"""The dashboard over the API, and the list of all deployments: kept for a minute and never older than a change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import create_model

from autostack import cache
from autostack.dashboard.schemas import StatsOut
from autostack.deployments.status import Status
from autostack.extensions import redis
from tests.builders import build, publish
from tests.deployments import a_deployment, a_project
from tests.people import Api

STATS, RECENT, LIST = "/api/dashboard/stats", "/api/deployments/recent", "/api/deployments"


@pytest.fixture
def history(app, alice):
    """A month of Alice's: five succeeded within the week, of two before that one failed. Returns the project's id."""
    now = datetime.now(UTC)
    with app.app_context():
        blog = a_project(alice, "blog")
        for _ in range(5):
            a_deployment(alice, blog, now, Status.SUCCESS, 144)
        a_deployment(alice, blog, now - timedelta(days=10), Status.SUCCESS, 144)
        a_deployment(alice, blog, now - timedelta(days=40), Status.FAILED, 3)
        a_deployment(alice, blog, now - timedelta(days=40), Status.SUCCESS, 162)
    return blog


def test_the_stats_have_the_specs_shape(api, history):
    answered = api.get(STATS)
    assert (answered.status_code, answered.json) == (
        200,
        {
            "stats": {
                "totalDeployments": 8,
                "weeklyChange": "+4",
                "activeProjects": 1,
                "todayDeployments": 5,
                "successRate": 100.0,
                "monthlySuccessChange": 50.0,
                "avgDeployTime": "2.4m",
                "timeImprovement": "-18s",
            }
        },
    )


def test_an_empty_account_shows_zeros_and_nothing_that_never_happened(strangers_api, history):
    assert strangers_api.get(STATS).json["stats"] == {
        "totalDeployments": 0,
        "weeklyChange": "0",
        "activeProjects": 0,
        "todayDeployments": 0,
        "successRate": None,
        "monthlySuccessChange": None,
        "avgDeployTime": None,
        "timeImprovement": None,
    }
    assert strangers_api.get(RECENT).json == {"recentDeployments": []}


def test_nobody_is_asked_to_sign_in(nobodys_api):
    assert nobodys_api.get(STATS).status_code == 401


@pytest.mark.parametrize(("path", "key"), [(STATS, "stats"), (RECENT, "recentDeployments"), (LIST, "deployments")])
def test_what_is_remembered_is_answered_until_a_minute_has_passed(app, api, alice, history, path, key):
    first = api.get(path).json
    with app.app_context():
        # Past all that says that something changed.
        a_deployment(alice, history, datetime.now(UTC), Status.FAILED)
        assert api.get(path).json == first
        names = [name for name in redis().keys("autostack:remembered:*") if not name.endswith(b":version")]
        assert names
        # A process answers what it took from there for ten seconds more.
        assert all(0 < redis().ttl(name) <= 50 for name in names)
        redis().flushall()
    assert api.get(path).json[key] != first[key]


def test_each_step_of_a_deployment_shows_at_once(app, api, project):
    def shown():
        total = api.get(STATS).json["stats"]["totalDeployments"]
        listed = api.get(LIST).json["deployments"]
        assert api.get(RECENT).json["recentDeployments"] == listed
        return total, [(row["id"], row["status"]) for row in listed]

    assert shown() == (0, [])
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    assert shown() == (1, [(id, "queued")])
    build(app, id, {"/index.html": b"hi"})
    assert shown() == (1, [(id, "building")])
    publish(app, id)
    assert shown() == (1, [(id, "success")])
    second = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    assert shown() == (2, [(second, "queued"), (id, "success")])
    api.post(f"/api/deployments/{second}/cancel")
    assert shown() == (2, [(second, "cancelled"), (id, "success")])
    api.delete(f"/api/deployments/{second}")
    assert shown() == (1, [(id, "success")])
    api.delete(f"/api/projects/{project['id']}")
    assert shown() == (0, [])


def test_lists_of_another_length_status_or_page_are_remembered_apart(app, api, history):
    def found(query):
        answered = api.get(f"{LIST}?{query}").json
        return len(answered["deployments"]), answered["pagination"]["currentPage"]

    asked = ["", "limit=3", "status=failed", "status=failed&limit=1", "limit=3&page=2", "search=nothing"]
    for _ in range(2):
        assert [found(query) for query in asked] == [(8, 1), (3, 1), (1, 1), (1, 1), (3, 2), (0, 1)]
    with app.app_context():
        # What anybody can make as many of as they like takes no memory.
        assert len(redis().keys("autostack:remembered:*:DeploymentsOut:*")) == 4


def test_a_new_name_and_a_new_address_show_at_once(app, api, project):
    first, second = (deploy(app, api, project) for _ in range(2))
    api.get(RECENT), api.get(LIST)
    api.post(f"/api/deployments/{first}/promote")
    assert [row["url"] for row in api.get(RECENT).json["recentDeployments"]][1] == project["url"]
    assert [row["url"] for row in api.get(LIST).json["deployments"]][1] == project["url"]
    api.patch(f"/api/projects/{project['id']}", {"name": "renamed"})
    assert {row["repo"] for row in api.get(RECENT).json["recentDeployments"]} == {"renamed"}
    assert {row["repo"] for row in api.get(LIST).json["deployments"]} == {"renamed"}
    assert second != first


def deploy(app, api, project):
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, id, {"/index.html": b"hi"})
    publish(app, id)
    return id


def test_what_was_made_before_a_change_and_kept_after_it_does_not_count(app, alice):
    old = StatsOut(
        total_deployments=1, weekly_change="+1", active_projects=1, today_deployments=1, success_rate=None,
        monthly_success_change=None, avg_deploy_time=None, time_improvement=None,
    )  # fmt: skip
    new = old.model_copy(update={"total_deployments": 2})

    def overtaken():
        cache.forget([alice.id])
        return old

    with app.app_context():
        assert cache.recall(StatsOut, alice.id, overtaken) == old
        assert cache.recall(StatsOut, alice.id, lambda: new) == new
        assert cache.recall(StatsOut, alice.id, overtaken) == new


def test_what_a_process_holds_is_answered_until_a_change_or_the_end_of_its_time(app, api, alice, history, monkeypatch):
    first = api.get(LIST).json
    with app.app_context():
        a_deployment(alice, history, datetime.now(UTC), Status.FAILED)
        redis().delete(*redis().keys("autostack:remembered:*:DeploymentsOut:*"))
        assert api.get(LIST).json == first
        cache.forget([alice.id])
        monkeypatch.setattr(cache, "HELD_S", 0)
        assert api.get(LIST).json["pagination"]["totalItems"] == 9
        a_deployment(alice, history, datetime.now(UTC), Status.FAILED)
        redis().delete(*redis().keys("autostack:remembered:*:DeploymentsOut:*"))
        assert api.get(LIST).json["pagination"]["totalItems"] == 10


def test_what_a_process_holds_is_one_users_and_no_more_than_so_much(app, api, strangers_api, history, monkeypatch):
    monkeypatch.setattr(cache, "MOST_HELD", 3)
    for limit in range(1, 9):
        assert len(api.get(f"{LIST}?limit={limit}").json["deployments"]) == limit
        assert strangers_api.get(f"{LIST}?limit={limit}").json["deployments"] == []
    assert len(app.extensions["autostack_held"]) <= 3


def test_what_another_release_remembered_in_another_shape_is_made_anew(app, alice):
    olds = create_model("StatsOut", count=(str, ...))
    news = create_model("StatsOut", count=(int, ...))
    with app.app_context():
        assert cache.recall(olds, alice.id, lambda: olds(count="many")).count == "many"
        assert cache.recall(news, alice.id, lambda: news(count=1)).count == 1


@pytest.mark.parametrize("path", [STATS, RECENT, LIST])
def test_without_redis_the_query_answers(make_app, api, alice, history, path):
    away = Api(make_app(redis_url="redis://127.0.0.1:1/0"), alice.token)
    assert away.get(path).json == api.get(path).json
