"""The platform's own state: nothing is known before somebody looked, and all that was seen is shown."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from simple_websocket import Client, ConnectionClosed
from sqlalchemy import event

from autostack.extensions import db, redis
from autostack.status.health import Health, Service
from autostack.status.remembering import remembered
from autostack.web.rate_limits import VIEWS_TIMES
from tests.conftest import AppMaker
from tests.looks import ago, incident, look, look_at_all
from tests.people import Api, Browser

TRY_AGAIN_LATER = 1013


def services(api: Api) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in api.get("/api/status/services").json["services"]}


def history(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/api/status/history").json["history"]
    return found


def text(page: str) -> str:
    """Return what a page says, in one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.split("<main", 1)[-1]).split())


def test_before_any_probe_nothing_is_known_and_nothing_made_up(nobodys_api: Api) -> None:
    assert nobodys_api.get("/api/status/services").json == {
        "services": [
            {"name": name, "status": "unknown", "uptime": None, "responseTime": None, "checkedAt": None}
            for name in ("API Gateway", "Database", "CDN", "Build Service")
        ]
    }
    assert nobodys_api.get("/api/status/incidents").json == {"incidents": []}
    assert nobodys_api.get("/api/status/metrics").json == {
        "metrics": {
            "totalDeployments": 0,
            "deploymentChange": None,
            "activeProjects": 0,
            "projectChange": None,
            "avgDeployTime": None,
            "timeChange": None,
            "successRate": None,
            "successChange": None,
        }
    }
    days = history(nobodys_api)
    today = datetime.now(UTC).date()
    assert [days[0]["date"], days[-2]["date"], days[-1]["date"]] == ["89 days ago", "1 day ago", "Today"]
    assert [days[0]["day"], days[-1]["day"]] == [str(today - timedelta(days=89)), str(today)]
    assert {(day["uptime"], day["incidents"]) for day in days} == {(None, 0)}


def test_the_page_says_that_no_probe_has_run(nobodys_browser: Browser) -> None:
    page = nobodys_browser.get("/status")
    assert page.status_code == 200
    said = text(page.text)
    assert "No Probe Has Run Yet" in said
    assert "Not measured yet" in said
    assert "No history yet" in said
    assert "No incident is on record" in said
    assert "%" not in said
    assert "No history yet" in text(nobodys_browser.get("/status/history").text)


def test_a_signed_in_user_reads_it_in_their_own_frame(browser: Browser, nobodys_browser: Browser) -> None:
    assert "Your account" in browser.get("/status").text
    assert "Your account" not in nobodys_browser.get("/status").text


def test_the_latest_look_tells_how_a_service_is(app: Flask, nobodys_api: Api) -> None:
    look(app, Service.DATABASE, at=ago(minutes=2), response_time=3)
    look(app, Service.DATABASE, Health.DEGRADED, at=ago(seconds=30), response_time=900)
    found = services(nobodys_api)["Database"]
    assert (found["status"], found["responseTime"]) == ("degraded", 900)
    assert services(nobodys_api)["CDN"]["status"] == "unknown"


def test_a_look_of_long_ago_says_nothing_of_now(app: Flask, nobodys_api: Api, nobodys_browser: Browser) -> None:
    look_at_all(app, at=ago(minutes=6))
    found = services(nobodys_api)["Database"]
    assert (found["status"], found["responseTime"], found["uptime"]) == ("unknown", None, 100.0)
    assert found["checkedAt"] is not None
    assert "Some Systems Are Not Being Checked" in nobodys_browser.get("/status").text


def test_a_word_of_another_version_is_unknown(app: Flask, nobodys_api: Api) -> None:
    look(app, Service.CDN, "on fire")
    found = services(nobodys_api)["CDN"]
    assert (found["status"], found["uptime"]) == ("unknown", None)


def test_uptime_is_of_all_looks_and_never_rounded_up(app: Flask, nobodys_api: Api) -> None:
    for number in range(6):
        look(app, Service.CDN, Health.DOWN if number == 0 else Health.DEGRADED, at=ago(seconds=number))
    look(app, Service.DATABASE, uptime=99.99, at=ago(seconds=5))
    look(app, Service.DATABASE, at=ago(seconds=9))
    found = services(nobodys_api)
    assert (found["CDN"]["uptime"], found["Database"]["uptime"]) == (83.33, 99.99)


def test_history_has_each_days_uptime_and_the_incidents_that_were_under_way(app: Flask, nobodys_api: Api) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0)
    look(app, Service.DATABASE, Health.DOWN, at=noon - timedelta(days=30))
    look(app, Service.CDN, at=noon - timedelta(days=30))
    look(app, Service.CDN, at=noon - timedelta(days=90))
    incident(app, "Long", noon - timedelta(days=31), noon - timedelta(days=30))
    incident(app, "Short", noon - timedelta(days=30), noon - timedelta(days=30) + timedelta(minutes=5))
    incident(app, "Forgotten", noon - timedelta(days=200), noon - timedelta(days=199))
    days = {day["date"]: day for day in history(nobodys_api)}
    shown = days["30 days ago"]
    assert (shown["uptime"], shown["incidents"]) == (50.0, 2)
    assert shown["services"] == {"Database": 0.0, "CDN": 100.0}
    assert (days["31 days ago"]["uptime"], days["31 days ago"]["incidents"]) == (None, 1)
    assert len(days) == 90
    assert sum(day["incidents"] for day in days.values()) == 3
    titles = [one["title"] for one in nobodys_api.get("/api/status/incidents").json["incidents"]]
    assert titles == ["Short", "Long"]


def test_what_is_not_over_stands_first_and_degrades_the_whole(
    app: Flask, nobodys_api: Api, nobodys_browser: Browser
) -> None:
    look_at_all(app)
    incident(app, "Over", ago(hours=2), ago(hours=1))
    incident(app, "Still there", ago(days=120))
    found = nobodys_api.get("/api/status/incidents").json["incidents"]
    assert [one["title"] for one in found] == ["Still there", "Over"]
    assert (found[0]["resolvedAt"], found[0]["affectedServices"]) == (None, ["Database"])
    page = nobodys_browser.get("/status").text
    said = text(page)
    assert "Some Systems Degraded An incident is not over yet." in said
    assert "not over yet" in said
    assert "lasted 1h 0m" in said
    assert "A disk was &lt;full&gt;." in page


@pytest.mark.parametrize(
    ("health", "title"),
    [
        (Health.OPERATIONAL, "All Systems Operational Every service answers as it should."),
        (Health.DEGRADED, "Some Systems Degraded CDN is degraded."),
        (Health.DOWN, "Some Systems Degraded CDN is down."),
    ],
)
def test_the_banner_names_what_is_wrong(app: Flask, nobodys_browser: Browser, health: Health, title: str) -> None:
    look_at_all(app, at=ago(minutes=1))
    look(app, Service.CDN, health)
    assert title in text(nobodys_browser.get("/status").text)


def test_the_page_shows_services_history_and_every_day(app: Flask, nobodys_browser: Browser) -> None:
    look_at_all(app)
    look(app, Service.DATABASE, Health.DOWN, at=ago(days=3))
    page = nobodys_browser.get("/status").text
    said = text(page)
    assert "Uptime, 90 days 50.0%" in said
    assert "Response time 45 ms" in said
    assert "No incidents None began in the last 90 days." in said
    assert page.count('data-level="bad"') == 2
    assert page.count('data-level="good"') == 5
    assert page.count('data-level="none"') == 5 * 90 - 7
    days = nobodys_browser.get("/status/history").text
    assert days.count("<tr>") == 91
    assert "0.0%" in text(days)


def test_the_figures_are_the_whole_platforms(
    app: Flask, api: Api, strangers_api: Api, nobodys_api: Api, site: str
) -> None:
    for owner in (api, strangers_api):
        assert owner.post("/api/deployments", {"repository": site}).status_code == 201
    metrics = nobodys_api.get("/api/status/metrics").json["metrics"]
    assert (metrics["totalDeployments"], metrics["activeProjects"], metrics["deploymentChange"]) == (2, 2, None)
    assert (metrics["successRate"], metrics["avgDeployTime"]) == (None, None)


def test_who_has_seen_what_there_is_gets_nothing_until_it_changes(app: Flask, nobodys_browser: Browser) -> None:
    page = nobodys_browser.get("/status").text
    poll = re.search(r'hx-get="(/status/_board\?seen=\w+)" hx-trigger="every 3s"', page)
    assert poll is not None
    assert (nobodys_browser.get(poll[1]).status_code, nobodys_browser.get(poll[1]).data) == (204, b"")
    look_at_all(app)
    with app.app_context():
        redis().flushall()
    changed = nobodys_browser.get(poll[1])
    assert changed.status_code == 200
    assert changed.text.lstrip().startswith('<div id="board"')
    assert "All Systems Operational" in changed.text


def test_without_redis_the_page_is_still_there(make_app: AppMaker) -> None:
    app = make_app(redis_url="redis://127.0.0.1:1/0")
    look_at_all(app)
    assert "All Systems Operational" in Browser(app).get("/status").text


@contextmanager
def counts_of_the_platform(app: Flask) -> Iterator[list[str]]:
    """Collect the statements that go through all deployments."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "width_bucket" in statement:
            seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_without_redis_a_process_remembers_for_itself(make_app: AppMaker) -> None:
    app = make_app(redis_url="redis://127.0.0.1:1/0")
    with counts_of_the_platform(app) as counts:
        for path in ("/status", "/status/history", "/status/_board"):
            assert Browser(app).get(path).status_code == 200
    assert len(counts) == 1


def test_of_many_who_ask_at_once_one_has_it_counted(app: Flask) -> None:
    with counts_of_the_platform(app) as counts, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Browser(app).get("/status").status_code, range(16)))
    assert set(answers) == {200}
    assert len(counts) == 1


def test_while_one_makes_it_the_others_are_told_what_was(app: Flask) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make(answer: int) -> int:
        begun.set()
        assert go_on.wait(60)
        return answer

    def ask(answer: int) -> int:
        with app.app_context():
            return remembered("number", 60, int, lambda: make(answer))

    def forget() -> None:
        with app.app_context():
            redis().delete("autostack:status:number")

    go_on.set()
    forget()
    assert ask(1) == 1
    forget()
    begun.clear()
    go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        maker = pool.submit(ask, 2)
        assert begun.wait(60)
        assert ask(3) == 1
        go_on.set()
        assert maker.result(60) == 2
    assert ask(4) == 2


def test_another_process_that_makes_it_is_waited_for_by_nobody(app: Flask) -> None:
    with app.app_context():
        assert remembered("number", 60, int, lambda: 1) == 1
        redis().delete("autostack:status:number")
        redis().set("autostack:status:number:making", b"1")
        assert remembered("number", 60, int, lambda: 2) == 1
        redis().delete("autostack:status:number:making")
        assert remembered("number", 60, int, lambda: 2) == 2
        assert redis().get("autostack:status:number:making") is None


def test_a_stranger_may_look_often_and_not_for_ever(make_app: AppMaker) -> None:
    stranger = Browser(make_app(rate_limit_api="1/minute"))
    answers = [stranger.get("/status/_board").status_code for _ in range(VIEWS_TIMES + 1)]
    assert answers == [*[200] * VIEWS_TIMES, 429]


def test_what_another_release_remembered_is_made_anew(app: Flask, nobodys_api: Api) -> None:
    with app.app_context():
        redis().set("autostack:status:snapshot", '{"status": "of another shape"}')
    assert len(services(nobodys_api)) == 4


def watch(address: str) -> Client:
    return Client(f"ws://{urlsplit(address).netloc}/api/status/stream")


def a_round(socket: Client) -> list[dict[str, Any]]:
    """Return the events that come together: one for each of the four services, and the figures."""
    return [json.loads(socket.receive(timeout=60)) for _ in range(5)]


def test_the_websocket_tells_the_same_again_and_again(address: str, nobodys_api: Api) -> None:
    socket = watch(address)
    first, second = a_round(socket), a_round(socket)
    socket.send("What is said to it means nothing.")
    third = a_round(socket)
    socket.close()
    assert first == second == third
    metrics = nobodys_api.get("/api/status/metrics").json["metrics"]
    assert first == [
        *(
            {"type": "service_update", "service": name, "status": "unknown", "uptime": None, "responseTime": None}
            for name in services(nobodys_api)
        ),
        {"type": "metrics_update", "metrics": metrics},
    ]


def test_the_websocket_tells_what_was_seen_of_each_service(address: str, app: Flask) -> None:
    look(app, Service.DATABASE, Health.DEGRADED, uptime=99.98, response_time=900)
    socket = watch(address)
    seen = {event["service"]: event for event in a_round(socket)[:-1]}
    socket.close()
    assert seen["Database"] == {
        "type": "service_update",
        "service": "Database",
        "status": "degraded",
        "uptime": 99.98,
        "responseTime": 900,
    }


def test_watchers_of_the_status_leave_seats_for_others(address: str) -> None:
    watching, refusal = [], None
    # Two processes with 48 seats each, a quarter of them for this.
    while refusal is None and len(watching) < 25:
        socket = watch(address)
        try:
            socket.receive(timeout=60)
            watching.append(socket)
        except ConnectionClosed as closed:
            refusal = closed.reason
    assert (refusal, 12 <= len(watching) <= 24) == (TRY_AGAIN_LATER, True)
    for socket in watching:
        socket.close()
