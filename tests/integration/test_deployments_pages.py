"""The list of deployments, and what can be done from its rows, with HTMX and without."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from tests.builders import build, open_agent, publish
from tests.git_server import GitServer
from tests.people import Api, Browser

HTMX = {"HX-Request": "true"}
SITE = {"/index.html": b"hi"}


def ask(api: Api, project: dict[str, Any], **changes: str) -> str:
    """Ask for a deployment of the project, and return its id."""
    id: str = api.post("/api/deployments", {"projectId": project["id"], **changes}).json["id"]
    return id


def deploy(app: Flask, api: Api, project: dict[str, Any]) -> str:
    """Deploy the project all the way, and return the deployment's id."""
    id = ask(api, project)
    build(app, id, SITE)
    publish(app, id)
    return id


def rows(answered: TestResponse) -> dict[str, str]:
    """Return each deployment's row on a page, in order, by its id."""
    found = re.findall(r'<tr id="row-([0-9a-f-]{36})"(.*?)</tr>', answered.text, re.DOTALL)
    return dict(found)


def poll(answered: TestResponse) -> str:
    """Return the address that the list asks for itself again."""
    [address] = re.findall(r'id="deployments" hx-get="([^"]*)"', answered.text)
    return str(address).replace("&amp;", "&")


def told(answered: TestResponse) -> dict[str, Any]:
    """Return the events that an action tells the page."""
    assert (answered.status_code, answered.data) == (204, b"")
    events: dict[str, Any] = json.loads(answered.headers["HX-Trigger"])
    return events


def test_the_list_is_narrowed_to_a_project_and_its_links_keep_that(
    api: Api, browser: Browser, strangers_browser: Browser, git_server: GitServer, project: dict[str, Any]
) -> None:
    other = api.post("/api/projects", {"name": "Other", "repository": git_server.url("other.git")}).json
    mine, others = ask(api, project), ask(api, other)
    more = ask(api, project, branch="next")
    path = f"/deployments?project={project['id']}"
    assert list(rows(browser.get("/deployments"))) == [more, others, mine]
    narrowed = browser.get(path)
    assert list(rows(narrowed)) == [more, mine]
    assert f'<input type="hidden" name="project" value="{project["id"]}">' in narrowed.text
    [older] = re.findall(r'href="(/deployments\?before=[^"]*)"', browser.get(f"{path}&limit=1").text)
    assert list(rows(browser.get(older.replace("&amp;", "&")))) == [mine]
    assert strangers_browser.get(path).status_code == 404
    assert rows(browser.get(f"{path}&status=failed")) == {}


def test_the_list_answers_its_own_question_only_if_something_changed(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    id = ask(api, project)
    page = browser.get("/deployments?search=site&status=building")
    assert "every 3s" in page.text
    again = poll(page)
    assert {"search=site", "status=building"} < set(again.split("?")[1].split("&"))
    assert browser.get(again, headers=HTMX).status_code == 204

    newer = ask(api, project, branch="next")
    changed = browser.get(again, headers=HTMX)
    assert list(rows(changed)) == [newer, id]
    assert "<html" not in changed.text
    assert browser.get(poll(changed), headers=HTMX).status_code == 204

    agent = open_agent(app, id)
    assert agent is not None
    agent.fetch_order()
    assert browser.get(poll(changed), headers=HTMX).status_code == 200


def test_where_nothing_runs_the_list_asks_less_often(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    deploy(app, api, project)
    assert "every 15s" in browser.get("/deployments").text


def test_who_has_just_started_a_deployment_finds_it_on_top_and_marked(
    app: Flask, api: Api, browser: Browser, strangers_browser: Browser, project: dict[str, Any]
) -> None:
    older, newer = deploy(app, api, project), ask(api, project)
    page = browser.get(f"/deployments?new={older}")
    shown = rows(page)
    assert list(shown) == [older, newer]
    assert "data-new" in shown[older]
    assert f'href="/deployments/{older}#logs">' in shown[older]
    assert "data-new" not in shown[newer]
    assert f"new={older}" in poll(page)
    assert rows(strangers_browser.get(f"/deployments?new={older}")) == {}
    assert list(rows(browser.get(f"/deployments?new={uuid.uuid4()}"))) == [newer, older]


def test_what_production_shows_is_marked_and_older_ones_are_rolled_back_to(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    first, second = deploy(app, api, project), deploy(app, api, project)
    shown = rows(browser.get("/deployments"))
    assert "live-mark" in shown[second]
    assert "Roll back to this" in shown[first]

    events = told(browser.post(f"/deployments/{first}/promote", headers=HTMX))
    assert events["toast"]["message"] == "Site shows this deployment now."
    assert "deployments-changed" in events
    shown = rows(browser.get("/deployments"))
    assert "live-mark" in shown[first]
    assert "Roll back" not in shown[second]
    assert "Promote" in shown[second]


def test_a_row_cancels_and_without_htmx_leads_to_the_deployment(
    api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    first, second = ask(api, project), ask(api, project, branch="next")
    assert told(browser.post(f"/deployments/{first}/cancel", headers=HTMX))["toast"]["category"] == "success"
    plain = browser.post(f"/deployments/{second}/cancel")
    assert (plain.status_code, plain.location) == (303, f"/deployments/{second}")
    assert {api.get(f"/api/deployments/{id}").json["status"] for id in (first, second)} == {"cancelled"}
    assert browser.post(f"/deployments/{first}/cancel", headers=HTMX).status_code == 409


def test_a_deployment_is_deleted_only_with_its_name_typed(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    old, _ = deploy(app, api, project), deploy(app, api, project)
    for typed in ({}, {"confirm": "site"}):
        assert browser.post(f"/deployments/{old}/delete", typed).status_code == 422
    assert api.get(f"/api/deployments/{old}").status_code == 200
    assert told(browser.post(f"/deployments/{old}/delete", {"confirm": "Site"}, headers=HTMX))
    assert api.get(f"/api/deployments/{old}").status_code == 404
    assert old not in rows(browser.get("/deployments"))
