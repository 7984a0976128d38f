"""What the command palette finds, as a fragment for it and as a page."""

from __future__ import annotations

import gzip
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag
from flask import Flask

from tests.deployments import a_deployment, a_project
from tests.people import Browser, Person

STATIC = Path(__file__).parents[2] / "autostack" / "static"
MAX_JAVASCRIPT_BYTES = 20_000


def found(browser: Browser, text: str) -> dict[str, list[Tag]]:
    """Return the options of each group, as the palette gets them."""
    answered = browser.get("/search", query_string={"q": text}, headers={"HX-Request": "true"})
    assert answered.status_code == 200
    fragment = BeautifulSoup(answered.text, "html.parser")
    assert fragment.find("html") is None
    assert fragment.select_one("#palette-list")["role"] == "listbox"
    return {group.p.get_text(): group.select("[role=option]") for group in fragment.select("[role=group]")}


def make_project(app: Flask, owner: Person, name: str) -> uuid.UUID:
    with app.app_context():
        return a_project(owner, name)


def make_deployment(app: Flask, owner: Person, project: uuid.UUID) -> uuid.UUID:
    with app.app_context():
        return a_deployment(owner, project, datetime.now(UTC))


def names(options: list[Tag]) -> list[str]:
    return [
        option.select_one("span").get_text() if option.select_one("span") else option.get_text() for option in options
    ]


def test_projects_and_deployments_are_found_by_name(app: Flask, browser: Browser, alice: Person) -> None:
    deployment = make_deployment(app, alice, make_project(app, alice, "storefront"))
    make_project(app, alice, "blog")
    groups = found(browser, "STORE")
    assert names(groups["Projects"]) == ["storefront"]
    assert [option["href"] for option in groups["Deployments"]] == [f"/deployments/{deployment}"]


def test_nobody_finds_what_is_anothers(app: Flask, strangers_browser: Browser, alice: Person) -> None:
    make_deployment(app, alice, make_project(app, alice, "storefront"))
    assert found(strangers_browser, "storefront") == {}


def test_few_are_shown_of_many(app: Flask, browser: Browser, alice: Person) -> None:
    for number in range(8):
        make_deployment(app, alice, make_project(app, alice, f"site-{number}"))
    groups = found(browser, "site")
    assert names(groups["Projects"]) == [f"site-{number}" for number in (7, 6, 5, 4, 3)]
    assert len(groups["Deployments"]) == 5


def test_an_empty_field_offers_every_command_and_no_deployment(app: Flask, browser: Browser, alice: Person) -> None:
    make_deployment(app, alice, make_project(app, alice, "storefront"))
    groups = found(browser, "")
    assert "Deployments" not in groups
    assert {"Dashboard", "Settings", "New deployment", "Dark theme", "Log out"} <= set(names(groups["Commands"]))
    assert "Admin" not in names(groups["Commands"])


@pytest.mark.parametrize(("text", "command"), [("dep new", "New deployment"), ("sign out", "Log out"), ("curl", "API")])
def test_commands_are_found_by_any_of_their_words(browser: Browser, text: str, command: str) -> None:
    assert command in names(found(browser, text)["Commands"])


def test_every_command_leads_somewhere(browser: Browser) -> None:
    for option in found(browser, "")["Commands"]:
        if option.name == "a":
            assert browser.get(option["href"]).status_code == 200


def test_signs_that_mean_something_to_the_database_are_just_signs(app: Flask, browser: Browser, alice: Person) -> None:
    make_project(app, alice, "storefront")
    for text in ("%", "_", "\\", "'", "x" * 5000):
        assert "Projects" not in found(browser, text)


def test_what_is_typed_comes_back_as_text(browser: Browser) -> None:
    assert "<script>alert" not in browser.get("/search?q=<script>alert(1)</script>").text


def test_without_javascript_it_is_a_page_of_links(app: Flask, browser: Browser, alice: Person) -> None:
    project = make_project(app, alice, "storefront")
    page = BeautifulSoup(browser.get("/search?q=storefront").text, "html.parser")
    assert page.select_one("main [type=search]")["value"] == "storefront"
    assert page.select_one(f'main a[href="/projects/{project}"]')
    assert not page.select("main [role=option]")
    out = BeautifulSoup(browser.get("/search?q=log+out").text, "html.parser").select_one("main .palette-option")
    form = out.find_parent("main").find("form", id=out["form"])
    assert (form["method"], form["action"]) == ("post", "/logout")
    assert form.select_one("[name=csrf_token]")


def test_a_theme_is_kept_with_the_account(browser: Browser) -> None:
    fragment = browser.get("/search", query_string={"q": "dark theme"}, headers={"HX-Request": "true"})
    page = BeautifulSoup(fragment.text, "html.parser")
    option = page.select_one("button[name=theme]")
    form = page.find("form", id=option["form"])
    assert browser.post(form["action"], {"theme": option["value"]}).status_code == 303
    assert BeautifulSoup(browser.get("/dashboard").text, "html.parser").html["data-theme"] == "dark"


def test_what_postgresql_cannot_hold_finds_nothing(browser: Browser) -> None:
    assert browser.get("/search?q=%00").status_code == 200


def test_scripts_of_ours_are_small() -> None:
    own = [file for file in STATIC.rglob("*.js") if "vendor" not in file.parts]
    packed = {file.name: len(gzip.compress(file.read_bytes())) for file in own}
    assert sum(packed.values()) < MAX_JAVASCRIPT_BYTES, packed
