"""Asking visitors for a password: set over the API and on a page, written into every route, and passed by owners."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import bcrypt
import pytest
from flask import Flask
from redis import Redis

from autostack.deployments import jobs
from autostack.extensions import redis, store
from autostack.projects import protection
from autostack.queue import CONTROL, waiting
from autostack.sites import tickets
from autostack.sites.routes import Route, read_route
from tests.builders import build, publish
from tests.pages import parsed, text_of
from tests.people import Api, Browser

PASSWORD = "tulips in the snow"


@pytest.fixture
def hosts(app: Flask, api: Api, project: dict[str, Any]) -> list[str]:
    """The labels of a deployed project: production, branch, and the deployment's own."""
    id = str(api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    build(app, id, {"/index.html": b"hi"})
    publish(app, id)
    return ["site", "site-git-main", f"site-{id[:8]}"]


def routes(app: Flask, labels: list[str]) -> list[Route]:
    with app.app_context():
        found = [read_route(store(), label) for label in labels]
    return [route for route in found if route is not None]


def protected(app: Flask, labels: list[str]) -> list[bool]:
    return [route.protection is not None for route in routes(app, labels)]


def test_a_password_is_asked_for_at_every_address(
    app: Flask, api: Api, project: dict[str, Any], hosts: list[str]
) -> None:
    address = f"/api/projects/{project['id']}/protection"
    assert api.get(address).json == {"enabled": False, "protects": "everything", "pendingAddresses": 0}
    answered = api.put(address, {"password": PASSWORD})
    assert answered.status_code == 200
    assert answered.json == {"enabled": True, "protects": "everything", "pendingAddresses": 0}
    known = {route.protection for route in routes(app, hosts)}
    [found] = known
    assert found is not None
    assert bcrypt.checkpw(PASSWORD.encode(), found.password_hash.encode())
    assert api.delete(address).status_code == 204
    assert protected(app, hosts) == [False] * 3


def test_production_can_stay_open(app: Flask, api: Api, project: dict[str, Any], hosts: list[str]) -> None:
    api.put(f"/api/projects/{project['id']}/protection", {"password": PASSWORD, "protects": "previews"})
    assert protected(app, hosts) == [False, True, True]


def test_each_password_has_a_key_of_its_own(app: Flask, api: Api, project: dict[str, Any], hosts: list[str]) -> None:
    keys = []
    for _ in range(2):
        api.put(f"/api/projects/{project['id']}/protection", {"password": PASSWORD})
        keys.append(routes(app, hosts)[0].protection.key_id)  # type: ignore[union-attr]
    assert keys[0] != keys[1]


def test_what_is_deployed_later_is_protected_too(
    app: Flask, api: Api, project: dict[str, Any], hosts: list[str]
) -> None:
    api.put(f"/api/projects/{project['id']}/protection", {"password": PASSWORD})
    id = str(api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    build(app, id, {"/index.html": b"new"})
    publish(app, id)
    assert protected(app, [*hosts, f"site-{id[:8]}"]) == [True] * 4


def test_more_addresses_than_can_be_written_at_once_are_a_jobs(app, api, browser, project, hosts, monkeypatch):
    monkeypatch.setattr(protection, "WRITTEN_AT_ONCE", 2)
    address, page = f"/api/projects/{project['id']}/protection", f"/projects/{project['id']}/access"
    assert api.put(address, {"password": PASSWORD}).json["pendingAddresses"] == 1
    assert "Not yet at every address: 1 address of an older deployment follows" in browser.get(page).text
    assert protected(app, hosts) == [True, True, False], "those that stay come first"
    with app.app_context():
        assert "write_routes" in (waiting(CONTROL) or ())
        jobs.write_routes()
    assert protected(app, hosts) == [True] * 3
    assert api.get(address).json["pendingAddresses"] == 0
    assert "Not yet at every address" not in browser.get(page).text


@pytest.mark.parametrize("password", ["short", "x" * 73, "password123", ""])
def test_a_password_that_cannot_be_chosen_is_refused_at_its_field(api, project, password):
    refused = api.put(f"/api/projects/{project['id']}/protection", {"password": password})
    assert (refused.status_code, list(refused.json["error"]["details"])) == (422, ["password"])


def test_the_page_sets_and_removes_it(app: Flask, browser: Browser, project: dict[str, Any], hosts: list[str]) -> None:
    page = f"/projects/{project['id']}/access"
    refused = browser.post(page, {"password": "sh0rt!", "protects": "previews"})
    assert (refused.status_code, "at least 8 characters" in refused.text, "sh0rt!" in refused.text) == (
        422,
        True,
        False,
    )
    assert browser.post(page, {"password": PASSWORD, "protects": "everything"}).status_code == 303
    assert protected(app, hosts) == [True] * 3
    shown = parsed(browser.get(page))
    assert "Of everything" in text_of(shown, "section.panel")
    assert PASSWORD not in shown.text
    assert browser.post(f"{page}/remove").status_code == 303
    assert protected(app, hosts) == [False] * 3


def test_an_owner_is_led_into_his_site_by_a_ticket(app, api, browser, project, hosts):
    api.put(f"/api/projects/{project['id']}/protection", {"password": PASSWORD})
    led = browser.get("/visit?host=SITE.localhost:8080&next=/a%3Fb%3D1")
    address = urlsplit(led.location)
    asked = parse_qs(address.query)
    assert (led.status_code, address.netloc, address.path) == (303, "site.localhost:8080", tickets.ENTER_PATH)
    assert asked["next"] == ["/a?b=1"]
    with app.app_context():
        [stored] = redis().keys("autostack:tickets:*")
        assert asked["ticket"][0].encode() not in stored
        assert 0 < redis().ttl(stored) <= tickets.TTL_S


def test_an_open_site_is_simply_visited(browser, project, hosts):
    assert browser.get("/visit?host=site.localhost&next=/a").location == "http://site.localhost:8080/a"
    assert browser.get("/visit?host=site.localhost&next=//evil.example").location == "http://site.localhost:8080/"
    assert browser.get("/visit").location == "/projects"


@pytest.mark.parametrize("host", ["site.localhost", "nobody.localhost", "evil.example", ""])
def test_nobody_is_led_into_what_is_not_theirs(strangers_browser, project, hosts, host):
    assert strangers_browser.get(f"/visit?host={host}").status_code == 404


def test_without_redis_an_owner_is_told_so(app, api, browser, project, hosts, monkeypatch):
    api.put(f"/api/projects/{project['id']}/protection", {"password": PASSWORD})
    nowhere = Redis.from_url("redis://127.0.0.1:1")
    monkeypatch.setattr(protection, "redis", lambda: nowhere)
    assert browser.get("/visit?host=site.localhost").status_code == 503
