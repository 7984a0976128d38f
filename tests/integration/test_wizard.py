"""The wizard: three pages, from an address to a deployment, each right after Back and a reload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from flask import Flask
from sqlalchemy import update

from autostack.deployments.models import Deployment, DeploymentDraft
from autostack.extensions import db
from tests.git_server import GitServer, make_repository, serve_repositories
from tests.pages import links, parsed, text_of
from tests.people import Browser
from tests.wizard import SECRET, begin, count, problem, stored, table, variables

STEP = ".steps [aria-current=step]"


def test_from_an_address_to_a_deployment_in_three_steps(app: Flask, browser: Browser, site: str) -> None:
    first = parsed(browser.get("/deploy"))
    assert text_of(first, STEP) == "1 Repository"
    assert first.select("[name=projectId], #repositories") == []
    tab = begin(browser, repository=site)
    second = tab.get()
    assert text_of(second, STEP) == "2 Configure"
    assert [str(option["value"]) for option in second.select("select[name=branch] option")] == ["main", "next"]
    assert "detected when it is built" in text_of(second, "#detected")
    form = {"branch": "next", "outputDir": "site", **table(("", "API_KEY", SECRET), ("", "", ""))}
    answered = tab.send(form)
    assert (answered.status_code, answered.location) == (303, f"{tab.path}/confirm")
    third = tab.get("confirm")
    assert text_of(third, STEP) == "3 Deploy"
    summary = text_of(third, ".summary")
    for said in ("next", "A new one", "site", "API_KEY", site.split("://")[1].removesuffix(".git")):
        assert said in summary
    assert SECRET not in str(third) + str(tab.get())
    answered = tab.send(page="confirm")
    assert (answered.status_code, answered.location) == (303, f"{tab.path}/started")

    deployment = stored(app)
    assert (deployment.branch, deployment.snapshot["outputDir"], deployment.trigger) == ("next", "site", "dashboard")
    assert variables(app) == {"API_KEY": SECRET}
    started = parsed(browser.get(answered.location))
    assert text_of(started, "#toasts p") == "Deployment started. Watch it build"
    assert links(started.select("#toasts")[0]) == {f"/deployments/{deployment.id}"}
    onward = f"/deployments?new={deployment.id}"
    assert started.select("noscript meta")[0]["content"] == f"2; url={onward}"
    assert started.select("[data-lead-on]")[0]["href"] == onward
    [row] = parsed(browser.get(onward)).select("tbody tr[data-new]")
    assert row["id"] == f"row-{deployment.id}"
    assert f"/deployments/{deployment.id}#logs" in links(row)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("", "give the address of one"),
        ("nameonly", "must begin with https://"),
        ("ftp://example.com/x", "must begin with https://"),
        ("https://10.0.0.1/x/y", "private address"),
        ("https://user:pass@example.com/x", "must not contain a user name"),
        ("x" * 300, "at most 255 characters"),
    ],
)
def test_a_wrong_address_is_said_at_its_field_and_comes_back(browser: Browser, reference: str, said: str) -> None:
    answered = browser.post("/deploy", {"repository": reference})
    assert said in problem(answered, "repository")
    page = BeautifulSoup(answered.text, "html.parser")
    assert page.select("#repository")[0]["value"] == reference


def test_a_repository_that_is_not_there_or_empty_is_said_at_its_field(browser: Browser, git_server: GitServer) -> None:
    assert "no repository" in problem(browser.post("/deploy", {"repository": git_server.url("none.git")}), "repository")
    assert "is empty" in problem(browser.post("/deploy", {"repository": git_server.url("empty.git")}), "repository")


@pytest.mark.parametrize(
    ("form", "field", "said"),
    [
        ({"branch": "gone"}, "branch", "no branch gone"),
        ({"branch": "a..b"}, "branch", "characters that a branch cannot have"),
        ({"rootDir": "../up"}, "rootDir", "inside the repository"),
        ({"outputDir": "/etc"}, "outputDir", "inside the repository"),
        ({"nodeVersion": "newest"}, "nodeVersion", ""),
        ({"buildCommand": "x" * 2001}, "buildCommand", "at most 2000"),
        ({"pasted": "A=1\nnonsense"}, "pasted", "Line 2 must have the form NAME=value."),
        (table(("", "1A", "x")), "envVars", "is no name"),
        (table(("", "A", "1"), ("", "A", "2")), "envVars", "A is there twice."),
        (table(*(("", f"V{n}", "x") for n in range(101))), "envVars", "At most 100 variables"),
        (table(("", "A", "x" * 70_000)), "envVars", "64 kB in all"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(
    app: Flask, browser: Browser, site: str, form: dict[str, Any], field: str, said: str
) -> None:
    tab = begin(browser, repository=site)
    answered = tab.send({"branch": "main", "installCommand": "make deps", **form})
    assert said in problem(answered, field)
    page = tab.get()
    if field != "envVars" or ("At most" not in said and "64 kB" not in said):
        assert page.select("#installCommand")[0]["value"] == "make deps"
    assert count(app, Deployment) == 0


def test_a_draft_that_is_wrong_cannot_be_confirmed(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    tab.send({"branch": "main", "outputDir": "/etc"})
    for answered in (browser.get(f"{tab.path}/confirm"), tab.send(page="confirm")):
        assert (answered.status_code, answered.location) == (303, f"{tab.path}/configure")
    assert count(app, Deployment) == 0


def test_fields_that_nobody_can_type_are_refused_whole(browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    for text_typed in ("a\0b", "x" * 5000):
        answered = tab.send({"branch": "main", "buildCommand": text_typed})
        assert (answered.status_code, "nobody can type" in answered.text) == (422, True)
    assert tab.get().select("#buildCommand")[0]["value"] == ""


def test_back_and_a_reload_show_what_was_typed(browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    tab.send({"branch": "next", "rootDir": "apps", "buildCommand": "make", **table(("", "KEY", SECRET))})
    for _ in range(2):
        page = tab.get()
        assert page.select("select[name=branch] [selected]")[0]["value"] == "next"
        assert (page.select("#rootDir")[0]["value"], page.select("#buildCommand")[0]["value"]) == ("apps", "make")
        assert list(tab.row_ids()) == ["KEY", ""]
    first = parsed(browser.get("/deploy", query_string={"draft": tab.path.split("/")[2]}))
    assert first.select("#repository")[0]["value"] == site


def test_the_same_repository_chosen_again_keeps_what_was_typed_and_another_begins_anew(
    app: Flask, browser: Browser, git_server: GitServer, site: str
) -> None:
    tab = begin(browser, repository=site)
    draft = tab.path.split("/")[2]
    tab.send({"branch": "next", "buildCommand": "make"})
    assert begin(browser, repository=site, draft=draft) == tab
    assert tab.get().select("#buildCommand")[0]["value"] == "make"
    assert begin(browser, repository=git_server.url("other.git"), draft=draft) == tab
    page = tab.get()
    assert page.select("#buildCommand")[0]["value"] == ""
    assert [str(option["value"]) for option in page.select("select[name=branch] option")] == ["main"]
    assert count(app, DeploymentDraft) == 1


def test_a_branch_that_was_pushed_since_can_be_deployed(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    with app.app_context():
        db.session.execute(update(DeploymentDraft).values(branches=["main"]))
        db.session.commit()
    assert tab.send({"branch": "next"}).status_code == 303
    tab.send(page="confirm")
    assert stored(app).branch == "next"


def test_a_branch_that_went_meanwhile_is_said_on_the_last_page(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    with app.app_context():
        db.session.execute(update(DeploymentDraft).values(branches=["main", "gone"]))
        db.session.commit()
    tab.send({"branch": "gone"})
    answered = tab.send(page="confirm")
    assert answered.status_code == 422
    alert = BeautifulSoup(answered.text, "html.parser").select(".note[role=alert]")[0]
    assert "no branch gone" in alert.get_text()
    assert links(alert) == {f"{tab.path}/configure"}
    assert count(app, Deployment) == 0


def test_branches_with_names_too_long_are_left_out(browser: Browser, tmp_path: Path) -> None:
    make_repository(tmp_path / "long.git", {"index.html": "hi"}).commit({}, branch="b" * 240)
    with serve_repositories(tmp_path) as server:
        page = begin(browser, repository=server.url("long.git")).get()
    assert [str(option["value"]) for option in page.select("select[name=branch] option")] == ["main"]


def test_many_branches_are_typed_with_suggestions(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    with app.app_context():
        many = ["main", *(f"b{number}" for number in range(199))]
        db.session.execute(update(DeploymentDraft).values(branches=many))
        db.session.commit()
    page = tab.get()
    assert page.select("input#branch")[0]["list"] == "branches"
    assert len(page.select("#branches option")) == 200
