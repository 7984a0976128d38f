"""Projects on pages."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import select, update

from autostack.deployments.models import Deployment
from autostack.extensions import db
from autostack.projects import overview, service
from autostack.projects.models import Project, SiteHost
from tests.git_server import GitServer
from tests.people import Browser


@pytest.fixture
def page(browser: Browser, site: str) -> str:
    """The path of the page of Alice's project."""
    answered = browser.post("/projects/new", {"name": "Site", "repository": site, "envVars": "KEY=sk-live-0123456789"})
    assert answered.status_code == 303, answered.text
    return answered.location


def stored(app: Flask) -> Project:
    with app.app_context():
        return db.session.scalars(select(Project)).one()


def test_a_project_is_made_on_the_page_and_listed(browser: Browser, strangers_browser: Browser, page: str) -> None:
    assert re.fullmatch(r"/projects/[0-9a-f-]{36}", page)
    assert "site.localhost:8080" in browser.get(page).text
    assert page in browser.get("/projects").text
    assert page not in strangers_browser.get("/projects").text
    assert browser.get("/projects/new").status_code == 200


def test_empty_fields_are_detected(app: Flask, browser: Browser, site: str) -> None:
    fields = dict.fromkeys(
        ["name", "branch", "rootDir", "installCommand", "buildCommand", "outputDir", "nodeVersion"], ""
    )
    browser.post("/projects/new", {**fields, "repository": site, "envVars": " "})
    project = stored(app)
    assert (project.name, project.branch, project.env_vars) == ("site", "main", None)
    assert (project.build_command, project.output_dir, project.install_command) == (None, None, None)


def test_a_wrong_field_is_said_where_it_stands_and_what_was_typed_comes_back(
    browser: Browser, git_server: GitServer, site: str
) -> None:
    answered = browser.post("/projects/new", {"name": "Typed", "repository": site, "branch": "missing"})
    assert answered.status_code == 422
    assert "no branch missing" in answered.text
    assert 'value="Typed"' in answered.text
    empty = browser.post("/projects/new", {"repository": git_server.url("empty.git")})
    assert "empty" in empty.text
    assert browser.post("/projects/new", {"name": "No address"}).status_code == 422


def test_a_taken_name_is_said_on_the_page(browser: Browser, page: str, site: str) -> None:
    answered = browser.post("/projects/new", {"name": "Site", "repository": site})
    assert answered.status_code == 409
    assert "You have a project named Site already." in answered.text


def test_settings_show_everything_but_the_variables_values(browser: Browser, page: str, site: str) -> None:
    shown = browser.get(f"{page}/settings").text
    assert site in shown
    assert "KEY" in shown
    assert "sk-live" not in shown


def test_settings_are_saved(app: Flask, browser: Browser, page: str) -> None:
    answered = browser.post(
        f"{page}/settings", {"name": "New", "branch": "next", "buildCommand": "make", "envVars": ""}
    )
    assert (answered.status_code, answered.location) == (303, f"{page}/settings")
    project = stored(app)
    assert (project.name, project.branch, project.build_command) == ("New", "next", "make")
    with app.app_context():
        assert service.variables_of(project) == {"KEY": "sk-live-0123456789"}


def test_pasted_variables_replace_what_is_stored(app: Flask, browser: Browser, page: str) -> None:
    browser.post(f"{page}/settings", {"envVars": "OTHER=1"})
    with app.app_context():
        assert service.variables_of(db.session.scalars(select(Project)).one()) == {"OTHER": "1"}


def test_an_untouched_form_keeps_a_command_that_was_set_to_none(app: Flask, browser: Browser, page: str) -> None:
    with app.app_context():
        db.session.execute(update(Project).values(build_command="", install_command="npm ci"))
        db.session.commit()
    browser.post(f"{page}/settings", {"buildCommand": "", "installCommand": ""})
    project = stored(app)
    assert (project.build_command, project.install_command) == ("", None)


def test_wrong_settings_change_nothing(app: Flask, browser: Browser, page: str) -> None:
    answered = browser.post(f"{page}/settings", {"name": "New", "rootDir": "/etc"})
    assert answered.status_code == 422
    assert 'value="/etc"' in answered.text
    assert browser.post(f"{page}/settings", {"name": ""}).status_code == 422
    assert stored(app).name == "Site"


def test_a_project_is_resumed_and_deleted_on_its_page(app: Flask, browser: Browser, page: str) -> None:
    with app.app_context():
        db.session.execute(update(Project).values(auto_promote=False))
        db.session.commit()
    assert browser.post(f"{page}/resume").location == page
    assert stored(app).auto_promote
    assert browser.post(f"{page}/delete").location == "/projects"
    assert browser.get(page).status_code == 404


def test_strangers_and_nobody_reach_nothing(
    browser: Browser, strangers_browser: Browser, nobodys_browser: Browser, page: str
) -> None:
    for path in (page, f"{page}/settings"):
        assert strangers_browser.get(path).status_code == 404
        assert nobodys_browser.get(path).location == f"/login?next={path}"
    for path in (f"{page}/settings", f"{page}/resume", f"{page}/delete"):
        assert strangers_browser.post(path, {"name": "Mine"}).status_code == 404
        assert nobodys_browser.post(path).location.startswith("/login")
        assert browser.client.post(path).status_code == 400
    assert nobodys_browser.post("/projects/new").location.startswith("/login")
    assert browser.get(page).status_code == 200


def test_a_projects_pages_know_what_was_deployed_and_what_is_live(app: Flask, page: str) -> None:
    with app.app_context():
        project = db.session.scalars(select(Project)).one()
        assert (overview.latest_deployments([project]), overview.live_deployment(project)) == ({}, None)
        older, newer = (
            Deployment(project_id=project.id, user_id=project.user_id, label=label)
            for label in ("site-00000001", "site-00000002")
        )
        for deployment in (older, newer):
            db.session.add(deployment)
            db.session.flush()
        db.session.execute(update(SiteHost).values(deployment_id=older.id))
        assert overview.recent_deployments(project) == [newer, older]
        assert overview.recent_deployments(project, limit=1) == [newer]
        assert overview.latest_deployments([project]) == {project.id: newer}
        assert overview.live_deployment(project) == older


@pytest.mark.parametrize("path", ["delete", "resume"])
def test_get_changes_nothing(browser: Browser, page: str, path: str) -> None:
    assert browser.get(f"{page}/{path}").status_code == 405
    assert browser.get(page).status_code == 200
