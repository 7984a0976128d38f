"""The command palette and the keys, with the keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.stack import PASSWORD, Stack

EMAIL = "keys@example.com"


@pytest.fixture
def page(chromium: Browser, stack: Stack) -> Iterator[Page]:
    """A signed-in tab, on the list of deployments."""
    stack.client.headers.pop("Authorization", None)
    stack.client.request("POST", "/api/auth/signup", json={"name": "Ada", "email": EMAIL, "password": PASSWORD})
    with chromium.new_context(base_url=f"http://localhost:{stack.port}") as context:
        page = context.new_page()
        page.goto("/login?next=/deployments")
        page.get_by_label("E-mail").fill(EMAIL)
        page.get_by_label("Password").fill(PASSWORD)
        page.locator("main form button[type=submit]").click()
        page.wait_for_url(re.compile("[0-9]/deployments$"))
        yield page


def test_the_palette_by_keyboard(page: Page) -> None:
    palette, field = page.get_by_role("dialog"), page.get_by_role("combobox", name="Search projects")
    page.keyboard.press("Control+k")
    expect(field).to_be_focused()
    expect(palette.get_by_role("option", name="New deployment")).to_be_visible()
    expect(palette.get_by_role("option", selected=True)).to_have_text("Dashboard")
    assert Axe().run(page).response["violations"] == []

    page.keyboard.press("ArrowUp")
    expect(palette.get_by_role("option", selected=True)).to_have_text("Log out")
    assert field.get_attribute("aria-activedescendant") == palette.get_by_role("option", selected=True).get_attribute(
        "id"
    )

    page.keyboard.type("dark")
    expect(palette.get_by_role("option")).to_have_text(["Dark theme", "System theme"])
    page.keyboard.press("Enter")
    expect(palette).to_be_hidden()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")

    page.keyboard.press("Control+k")
    expect(field).to_be_focused()
    page.keyboard.type("nothing of that name")
    expect(palette.get_by_text("Nothing of yours is called that.")).to_be_visible()
    page.keyboard.press("Control+a")
    page.keyboard.type("new project")
    expect(palette.get_by_role("option")).to_have_text(["New project"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/projects/new")

    page.keyboard.press("Control+k")
    expect(palette.get_by_role("option", name="Log out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()
    page.get_by_role("link", name="Search", exact=True).click()
    expect(field).to_be_focused()
    page.keyboard.type("log out")
    expect(palette.get_by_role("option")).to_have_text(["Log out"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/login")


def test_the_palette_is_full_however_early_it_is_asked_for(page: Page) -> None:
    page.add_init_script(
        """addEventListener("DOMContentLoaded", () =>
            document.dispatchEvent(new KeyboardEvent("keydown", { key: "k", ctrlKey: true })))"""
    )
    for path in ("/deployments", "/projects"):
        page.goto(path)
        expect(page.get_by_role("dialog").get_by_role("option", selected=True)).to_have_text("Dashboard")


def test_enter_takes_what_will_be_found_for_what_is_typed(page: Page) -> None:
    palette = page.get_by_role("dialog")
    page.keyboard.press("Control+k")
    expect(palette.get_by_role("option", selected=True)).to_have_text("Dashboard")
    held: list[Route] = []
    page.route("**/search?*", lambda route: held.append(route))
    with page.expect_request(lambda request: request.url.endswith("/search?q=log+out")):
        page.keyboard.type("log out")
        page.keyboard.press("Enter")
    expect(palette.get_by_role("option", selected=True)).to_have_text("Dashboard")
    while not held[-1:] or not held[-1].request.url.endswith("out"):
        page.wait_for_timeout(10)
    held[-1].continue_()
    page.wait_for_url("**/login")


def test_a_slash_searches_and_a_question_mark_tells_the_keys_unless_one_is_typing(page: Page) -> None:
    keys, search = page.get_by_role("dialog", name="Keyboard shortcuts"), page.get_by_role("searchbox")
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    page.keyboard.press("/")
    expect(search).not_to_be_focused()
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()

    page.keyboard.press("/")
    expect(search).to_be_focused()
    page.keyboard.type("a/b?")
    expect(search).to_have_value("a/b?")
    expect(keys).to_be_hidden()

    page.goto("/settings/sessions")
    page.keyboard.press("/")
    expect(page.get_by_role("combobox", name="Search projects")).to_be_focused()
