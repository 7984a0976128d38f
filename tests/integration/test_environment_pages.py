"""A project's build variables on their page: added, changed, pasted, removed, and shown to who asks for one."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from autostack.extensions import db
from autostack.projects import service
from autostack.projects.models import Project
from tests.pages import parsed
from tests.people import Browser

SECRET = "sk-live-0123456789"


@pytest.fixture
def page(project: dict[str, Any], browser: Browser) -> str:
    """The path of the variables of Alice's project, which has one."""
    path = f"/projects/{project['id']}/environment"
    assert browser.post(path, {"name": "KEY", "value": SECRET}).location == path
    return path


@pytest.fixture
def stored(app: Flask, project: dict[str, Any]) -> Any:
    def read() -> dict[str, str]:
        with app.app_context():
            return service.variables_of(db.session.get_one(Project, uuid.UUID(project["id"])))

    return read


def names(browser: Browser, page: str) -> list[str]:
    return [cell.get_text() for cell in parsed(browser.get(page)).select(".variables tbody th code")]


def test_a_variable_is_added_changed_and_removed(browser: Browser, page: str, stored: Any) -> None:
    browser.post(page, {"name": "  API_URL ", "value": " https://api.example.com "})
    assert names(browser, page) == ["API_URL", "KEY"]
    browser.post(page, {"name": "KEY", "value": "two\r\nlines"})
    assert stored() == {"API_URL": " https://api.example.com ", "KEY": "two\nlines"}
    assert browser.post(f"{page}/remove", {"name": "API_URL"}).location == page
    assert stored() == {"KEY": "two\nlines"}
    assert browser.post(f"{page}/remove", {"name": "NEVER_WAS"}).status_code == 303


def test_pasted_text_is_added_to_what_is_there(browser: Browser, page: str, stored: Any) -> None:
    text = "# comment\r\nexport A=1\r\nB='two words'\r\nKEY=new\r\n"
    assert browser.post(f"{page}/paste", {"envVars": text}).location == page
    assert stored() == {"A": "1", "B": "two words", "KEY": "new"}


def test_a_value_is_not_shown_until_its_owner_asks_for_it(browser: Browser, page: str) -> None:
    assert SECRET[:4] not in browser.get(page).text
    browser.post(page, {"name": "OTHER", "value": "another secret"})
    shown = browser.post(f"{page}/reveal", {"name": "KEY"})
    assert [code.get_text() for code in parsed(shown).select(".revealed")] == [SECRET]
    assert "another secret" not in shown.text
    assert shown.headers["Cache-Control"] == "no-store"
    assert SECRET not in browser.get(page).text
    assert browser.get(f"{page}/reveal").status_code == 405
    assert browser.post(f"{page}/reveal", {"name": "NONE"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "fields", "at"),
    [
        ("", {"name": "1X", "value": SECRET}, "name"),
        ("", {"name": "", "value": SECRET}, "name"),
        ("", {"name": "A B", "value": SECRET}, "name"),
        ("", {"name": "NUL", "value": "\0"}, "name"),
        ("", {"name": "LONG", "value": "x" * 70_000}, "name"),
        ("/paste", {"envVars": "no equals sign"}, "envVars"),
        ("/paste", {"envVars": "# only a comment"}, "envVars"),
        ("/paste", {"envVars": "\n".join(f"V{number}=1" for number in range(101))}, "envVars"),
    ],
)
def test_what_cannot_be_stored_is_said_at_its_field(
    browser: Browser, page: str, stored: Any, path: str, fields: dict[str, str], at: str
) -> None:
    refused = browser.post(f"{page}{path}", fields)
    assert refused.status_code == 422
    assert f'id="{at}-error"' in refused.text
    assert SECRET not in refused.text
    assert stored() == {"KEY": SECRET}


def test_two_tabs_at_once_lose_nothing(app: Flask, browser: Browser, page: str, stored: Any) -> None:
    tabs = [Browser(app) for _ in range(4)]
    for tab in tabs:
        tab.client.set_cookie("session", browser.cookie() or "")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda tab: tab[1].post(page, {"name": f"V{tab[0]}", "value": "1"}), enumerate(tabs)))
    assert stored().keys() == {"KEY", "V0", "V1", "V2", "V3"}


@pytest.mark.parametrize("path", ["", "/paste", "/remove", "/reveal"])
def test_strangers_nobody_and_other_sites_reach_nothing(
    browser: Browser, strangers_browser: Browser, nobodys_browser: Browser, page: str, stored: Any, path: str
) -> None:
    fields = {"name": "KEY", "value": "mine", "envVars": "KEY=mine"}
    answered = strangers_browser.post(f"{page}{path}", fields)
    assert (answered.status_code, SECRET in answered.text) == (404, False)
    assert nobodys_browser.post(f"{page}{path}", fields).location.startswith("/login")
    assert browser.client.post(f"{page}{path}", data=fields).status_code == 400
    assert stored() == {"KEY": SECRET}
