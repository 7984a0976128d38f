"""A project's traffic over the API and on its tab, and its budget, down to what the proxy does with who is over it."""

from __future__ import annotations

import datetime as dt
import time
import uuid

import pytest
from bs4 import BeautifulSoup

from autostack.deployments.models import Deployment
from autostack.extensions import db, store
from autostack.sites import keys
from autostack.sites.traffic import Batch, Kind, SiteTraffic, limits_from_json
from autostack.sites.visitors import Visitors
from autostack.traffic import budgets, gathering
from tests.deployments import a_deployment
from tests.sites import publish, running_proxy

NOW = dt.datetime.now(dt.UTC)
GB = 1_000_000_000
WAIT_S = 60
BUDGET = {"monthGb": 10, "action": "stop"}


def seen(*names):
    visitors = Visitors()
    for name in names:
        visitors.add(b"salt", name, b"")
    return visitors.to_bytes()


@pytest.fixture
def path(project):
    return f"/api/projects/{project['id']}/traffic"


@pytest.fixture
def page(project):
    return f"/projects/{project['id']}/traffic"


@pytest.fixture
def send(app, project):
    """Return a function that counts requests for the project."""

    def count(requests=1, began=NOW, is_preview=False, **counts):
        site = SiteTraffic(project["id"], is_preview, requests, statuses={2: requests}, **counts)
        with app.app_context():
            gathering.count([Batch(str(uuid.uuid4()), began, [site])])

    return count


@pytest.fixture
def tell(app):
    """Return a function that has the proxies told, and returns what they are told."""

    def limited():
        with app.app_context():
            budgets.tell_proxies()
            return limits_from_json(store().get(keys.TRAFFIC_LIMITS))

    with app.app_context():
        store().put(keys.TRAFFIC_LIMITS, b"{}")
    return limited


def test_traffic_is_told_day_by_day_with_sums(api, path, send):
    send(3, sent_bytes=300, visitors=seen("a", "b"))
    send(2, sent_bytes=200, visitors=seen("b"))
    send(5, NOW - dt.timedelta(days=1), sent_bytes=50)
    send(9, NOW - dt.timedelta(days=40))
    told = api.get(f"{path}?days=7").json
    assert [day["requests"] for day in told["days"]] == [0, 0, 0, 0, 0, 5, 5]
    assert (told["total"]["requests"], told["total"]["sentBytes"], told["total"]["succeeded"]) == (10, 550, 10)
    assert [day["visitors"] for day in told["days"]][-2:] == [0, 2]
    assert told["days"][-1]["day"] == NOW.date().isoformat()
    assert len(api.get(path).json["days"]) == 30


def test_previews_count_for_the_month_only(api, path, send):
    send(3, is_preview=True, sent_bytes=300)
    told = api.get(path).json
    assert (told["total"]["requests"], told["monthBytes"]) == (0, 300)


def test_the_most_frequent_names_of_all_days_are_told_first(api, path, send):
    pages = {f"/{number}": number for number in range(1, 20)}
    send(
        top={Kind.PAGE: pages, Kind.REFERRER: {"news.example": 4}, Kind.MISSING: {"/gone": 1}, Kind.FILE: {"/a.js": 2}}
    )
    send(began=NOW - dt.timedelta(days=2), top={Kind.PAGE: {"/1": 100}})
    told = api.get(path).json
    assert [one["name"] for one in told["topPages"]] == ["/1", *(f"/{number}" for number in range(19, 10, -1))]
    assert told["topPages"][0]["requests"] == 101
    assert (told["referrers"], told["notFound"], told["topFiles"]) == (
        [{"name": "news.example", "requests": 4}],
        [{"name": "/gone", "requests": 1}],
        [{"name": "/a.js", "requests": 2}],
    )


def test_deployments_are_marked_on_the_day_that_they_went_live(app, alice, api, browser, path, page, project, send):
    send(3)
    with app.app_context():
        deployment = db.session.get(Deployment, a_deployment(alice, uuid.UUID(project["id"]), NOW))
        deployment.completed_at, deployment.commit_hash, deployment.commit_message = (
            NOW,
            "4f2a91c" + "0" * 33,
            "Spring\n\nx",
        )
        db.session.commit()
    (marked,) = api.get(path).json["days"][-1]["deployments"]
    assert (marked["commit"], marked["message"]) == ("4f2a91c", "Spring")
    table = BeautifulSoup(browser.get(page).text, "html.parser").find(id="visitors").table
    assert "data-marks" in table.find_all("th", scope="col")[-1].attrs
    assert table.find_all("tr")[-1].find_all("td")[-1].text == "1 deployment: 4f2a91c"


def test_the_tab_shows_what_the_api_tells(browser, page, send):
    send(1200, sent_bytes=5_000_000, visitors=seen("a", "b"), top={Kind.PAGE: {"/<script>": 7}})
    shown = browser.get(page).text
    assert all(words in shown for words in ("1,200", "5.0 MB", "/&lt;script&gt;", "About 2 today so far"))
    tables = BeautifulSoup(shown, "html.parser").select(".plot-table table")
    assert [len(table.tbody.find_all("tr")) for table in tables] == [30, 30, 30]


def test_a_site_that_nobody_visited_says_so(browser, page):
    assert "No visitors yet" in browser.get(page).text
    assert "Nothing in these 7 days." in browser.get(f"{page}?days=7").text


@pytest.mark.parametrize("days", ["0", "91", "all"])
def test_other_spans_of_days_are_refused(api, browser, path, page, days):
    assert api.get(f"{path}?days={days}").status_code == 422
    assert browser.get(f"{page}?days={days}").status_code == 422


def test_strangers_see_and_change_nothing(strangers_api, nobodys_api, strangers_browser, path, page):
    for asked in (strangers_api.get(path), strangers_api.put(f"{path}/budget", BUDGET), strangers_browser.get(page)):
        assert asked.status_code == 404
    assert strangers_api.delete(f"{path}/budget").status_code == 404
    assert strangers_browser.post(f"{page}/budget", {"monthGb": "1", "action": "warn"}).status_code == 404
    assert strangers_browser.post(f"{page}/budget/remove").status_code == 404
    assert nobodys_api.get(path).status_code == 401


def test_a_budget_is_set_changed_and_removed(api, path, send):
    assert api.get(path).json["budget"] is None
    send(sent_bytes=2 * GB)
    for budget, percent in (({"monthGb": 4, "action": "warn"}, 50), (BUDGET, 20)):
        assert api.put(f"{path}/budget", budget).status_code == 204
        told = api.get(path).json["budget"]
        assert told == {**budget, "usedBytes": 2 * GB, "percent": percent, "state": "within"}
    assert api.delete(f"{path}/budget").status_code == 204
    assert api.get(path).json["budget"] is None


@pytest.mark.parametrize(
    "body", [{}, {"monthGb": 0}, {"monthGb": 10**7}, {"monthGb": 1, "action": "burn"}, {"monthGb": "1"}]
)
def test_a_budget_that_is_none_is_refused(api, path, body):
    assert api.put(f"{path}/budget", body).status_code == 422


def test_a_budget_is_set_on_the_tab_and_mistakes_are_shown_at_their_field(browser, page):
    refused = browser.post(f"{page}/budget", {"monthGb": "many", "action": "warn"})
    assert refused.status_code == 422
    assert "monthGb-error" in refused.text
    assert 'value="many"' in refused.text
    assert browser.post(f"{page}/budget", {"monthGb": "25", "action": "throttle"}).status_code == 303
    assert 'value="25"' in browser.get(page).text
    assert browser.post(f"{page}/budget/remove").status_code == 303
    assert "There is none now" in browser.get(page).text


@pytest.mark.parametrize(
    ("action", "sent", "words"),
    [
        ("warn", 8 * GB, "80% of this month"),
        ("warn", 10 * GB, "goes on being served"),
        ("throttle", 10 * GB, "answers slowly"),
        ("stop", 12 * GB, "told that it is paused"),
    ],
)
def test_each_page_of_the_project_warns_from_eighty_percent_on(api, browser, path, project, send, action, sent, words):
    api.put(f"{path}/budget", {"monthGb": 10, "action": action})
    assert "of this month’s traffic" not in browser.get(f"/projects/{project['id']}").text
    send(sent_bytes=sent)
    assert words in browser.get(f"/projects/{project['id']}").text


def test_proxies_are_told_who_is_over_and_is_to_be_held_to_it(api, path, project, send, tell):
    api.put(f"{path}/budget", BUDGET)
    send(sent_bytes=10 * GB - 1)
    send(began=NOW.replace(day=1) - dt.timedelta(days=1), sent_bytes=10 * GB)
    assert tell() == {}
    send(sent_bytes=1)
    assert tell() == {project["id"]: "stop"}
    api.put(f"{path}/budget", {"monthGb": 10, "action": "throttle"})
    assert tell() == {project["id"]: "throttle"}
    api.put(f"{path}/budget", {"monthGb": 10, "action": "warn"})
    assert tell() == {}


def awaited(proxy, status):
    deadline = time.monotonic() + WAIT_S
    while (answer := proxy.get("/")).status != status and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def test_a_proxy_holds_a_site_to_its_budget_until_it_is_told_otherwise(
    tmp_path, app, api, path, project, send, tell, make_settings
):
    with app.app_context():
        publish(store(), "site", {"/index.html": b"x" * 5_000}, project_id=project["id"])
        publish(store(), "other", {"/index.html": b"other"})
    environment = {"STORAGE_URL": make_settings().object_store_url, "TRAFFIC_INTERVAL": 1, "THROTTLE": 1}
    send(sent_bytes=10 * GB)
    with running_proxy(tmp_path, environment) as proxy:
        assert proxy.get("/").status == 200
        api.put(f"{path}/budget", BUDGET)
        tell()
        stopped = awaited(proxy, 402)
        assert b"used up its traffic" in stopped.body
        assert stopped.headers["cache-control"] == "no-store"
        assert proxy.get("/", host="other.localhost").status == 200
        api.put(f"{path}/budget", {"monthGb": 10, "action": "throttle"})
        tell()
        assert awaited(proxy, 200).status == 200
        assert awaited(proxy, 429).headers["retry-after"] == "1"
        api.delete(f"{path}/budget")
        tell()
        assert awaited(proxy, 200).status == 200
