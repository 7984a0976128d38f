"""The wizard for a project that is there already: found among many, with its settings and variables."""

from __future__ import annotations

import uuid
from typing import Any

from bs4 import BeautifulSoup
from flask import Flask
from sqlalchemy import update

from autostack.deployments.models import Deployment
from autostack.deployments.wizard_pages import MOST_PROJECTS
from autostack.extensions import db
from autostack.projects.models import Project
from tests.deployments import a_project
from tests.pages import fields, parsed, text_of
from tests.people import Api, Browser, Person
from tests.wizard import SECRET, begin, count, stored, table, variables


def offered(page: BeautifulSoup) -> list[str]:
    """Return the names of the projects to choose from."""
    return [text_of(choice, ".clip:first-child") for choice in page.select("button[name=projectId]")]


def test_of_many_projects_the_newest_are_offered_and_others_found(app: Flask, browser: Browser, alice: Person) -> None:
    with app.app_context():
        for number in range(MOST_PROJECTS + 2):
            a_project(alice, f"shop-{number}")
    tab = parsed(browser.get("/deploy"))
    newest = [f"shop-{number}" for number in reversed(range(2, MOST_PROJECTS + 2))]
    assert offered(tab) == newest
    assert text_of(tab, "#projects .field-hint") == f"The newest {MOST_PROJECTS}: search for another."
    found = parsed(browser.get("/deploy?search=SHOP-1"))
    assert offered(found) == ["shop-11", "shop-10", "shop-1"]
    nothing = parsed(browser.get("/deploy", query_string={"search": "<none>"}))
    assert "None of your projects has “<none>”" in text_of(nothing, "#projects")
    assert nothing.select("[name=search]")[0]["value"] == "<none>"


def test_a_search_among_projects_stays_with_its_draft(browser: Browser, project: dict[str, Any], site: str) -> None:
    tab = begin(browser, projectId=project["id"])
    draft = tab.path.split("/")[2]
    found = parsed(browser.get("/deploy", query_string={"draft": draft, "search": "site"}))
    assert fields(found, "form[role=search]:has([name=search])") == {"search": "site", "draft": draft}
    assert text_of(found, "button[name=projectId][aria-current] .clip:first-child") == "Site"


def test_a_project_comes_with_its_settings_and_variables(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    changes = {"branch": "next", "buildCommand": "make", "installCommand": "", "envVars": {"KEY": SECRET, "OLD": "1"}}
    assert api.patch(f"/api/projects/{project['id']}", changes).status_code == 200
    assert offered(parsed(browser.get("/deploy"))) == ["Site"]
    tab = begin(browser, projectId=project["id"])
    page, ids = tab.get(), tab.row_ids()
    assert page.select("select[name=branch] [selected]")[0]["value"] == "next"
    assert page.select("#buildCommand")[0]["value"] == "make"
    assert SECRET not in str(page)
    form = {"branch": "main", "buildCommand": "", "outputDir": "public"}
    shown = [id for id in ids.values() if id]
    tab.send({**form, **table((ids["KEY"], "KEY", ""), ("", "NEW", "2")), "envShown": shown})
    assert "Site" in text_of(tab.get("confirm"), ".summary")
    tab.send(page="confirm")
    found = stored(app, Project)
    assert (found.branch, found.build_command, found.output_dir) == ("main", None, "public")
    # An empty command, which the form cannot show, was not touched.
    assert found.install_command == ""
    assert variables(app) == {"KEY": SECRET, "NEW": "2"}


def test_an_address_that_has_a_project_deploys_that_and_says_so(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any], site: str
) -> None:
    api.patch(f"/api/projects/{project['id']}", {"buildCommand": "make", "envVars": {"OLD": "1"}})
    tab = begin(browser, repository=site)
    tab.send({"branch": "main", **table(("", "NEW", "2"))})
    summary = text_of(tab.get("confirm"), ".summary")
    assert "Site" in summary
    assert "take the place of the project’s 1." in summary
    tab.send(page="confirm")
    assert str(stored(app).project_id) == project["id"]
    assert stored(app, Project).build_command == "make"
    assert variables(app) == {"NEW": "2"}


def test_settings_that_come_from_the_addresses_project_are_as_shown_too(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    tab = begin(browser, repository=project["repository"])
    shown = tab.version()
    api.patch(f"/api/projects/{project['id']}", {"buildCommand": "make new"})
    assert tab.send({"version": shown}, "confirm").status_code == 409
    assert tab.send(page="confirm").status_code == 303


def test_the_last_builds_framework_is_told_of_a_project(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    api.post("/api/deployments", {"projectId": project["id"]})
    with app.app_context():
        db.session.execute(update(Deployment).values(detected={"framework": "vite"}))
        db.session.commit()
    tab = begin(browser, projectId=project["id"])
    assert text_of(tab.get(), "#detected") == "vite found by the last build"


def test_a_draft_undoes_nothing_that_was_changed_in_its_project_since(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    tab = begin(browser, projectId=project["id"])
    api.patch(f"/api/projects/{project['id']}", {"buildCommand": "make new", "envVars": {"KEY": "rotated"}})
    refused = tab.send(page="confirm")
    assert refused.status_code == 409
    assert "Choose it again" in refused.text
    assert variables(app) == {"KEY": "rotated"}
    assert count(app, Deployment) == 0
    begin(browser, projectId=project["id"], draft=tab.path.split("/")[2])
    assert tab.send(page="confirm").status_code == 303
    assert stored(app, Project).build_command == "make new"


def test_a_strangers_project_cannot_be_chosen(strangers_browser: Browser, project: dict[str, Any]) -> None:
    assert strangers_browser.post("/deploy", {"projectId": project["id"]}).status_code == 404
    assert strangers_browser.post("/deploy", {"projectId": str(uuid.uuid4())}).status_code == 404
