"""The list of deployments in Chromium: it follows what happens, its address carries the filters, and its rows act."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.builders import build, open_agent, publish
from tests.people import Api, Person

Visit = Callable[..., Page]


@pytest.fixture
def visit(chromium: Browser, address: str, alice: Person) -> Iterator[Visit]:
    """Open a page as Alice, with or without JavaScript; no script may fail on it."""
    problems: list[str] = []
    contexts: list[BrowserContext] = []

    def open_page(path: str, *, scripts: bool = True) -> Page:
        context = chromium.new_context(base_url=address, java_script_enabled=scripts)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto("/login")
        page.locator("[name=email]").fill(alice.email)
        page.locator("[name=password]").fill(alice.password)
        page.locator("main form button[type=submit]").click()
        page.wait_for_url(lambda url: "/login" not in url)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def ask(api: Api, project: dict[str, Any], **changes: str) -> str:
    id: str = api.post("/api/deployments", {"projectId": project["id"], **changes}).json["id"]
    return id


def deploy(app: Flask, api: Api, project: dict[str, Any]) -> str:
    id = ask(api, project)
    build(app, id, {"/index.html": b"hi"})
    publish(app, id)
    return id


def test_rows_follow_what_happens_by_one_request_and_new_ones_appear(
    app: Flask, api: Api, visit: Visit, project: dict[str, Any]
) -> None:
    first = ask(api, project)
    page = visit("/deployments?status=all")
    asked: list[str] = []

    def note(request: Request) -> None:
        if "/deployments" in request.url:
            asked.append(request.url)

    page.on("request", note)
    view_logs = page.locator(f"#row-{first} .cell-actions > a")
    view_logs.focus()
    second = ask(api, project, branch="next")
    expect(page.locator(f"#row-{second}")).to_be_visible(timeout=20_000)
    agent = open_agent(app, first)
    assert agent is not None
    agent.fetch_order()
    expect(page.locator(f"#row-{first} .status")).to_have_text("Building")
    expect(view_logs).to_be_focused()
    assert all("/deployments?" in url and "seen=" in url for url in asked), asked


def test_the_dashboards_figures_follow_its_table(app: Flask, api: Api, visit: Visit, project: dict[str, Any]) -> None:
    id = ask(api, project)
    page = visit("/dashboard")
    rate = page.locator(".figure", has_text="Success rate").locator(".figure-value")
    expect(rate).to_contain_text("None yet")
    view_logs = page.locator(f"#row-{id} .cell-actions > a")
    view_logs.focus()
    build(app, id, {"/index.html": b"hi"})
    publish(app, id)
    expect(rate).to_have_text("100.0%")
    expect(page.locator(f"#row-{id} .status")).to_have_text("Success")
    expect(view_logs).to_be_focused()


def test_what_was_done_in_place_is_announced_and_goes_when_it_is_dismissed(
    api: Api, visit: Visit, project: dict[str, Any]
) -> None:
    id = ask(api, project)
    page = visit("/deployments")
    # Only what was there before is heard as it changes.
    announcer = page.get_by_role("status").and_(page.locator("#toasts")).element_handle()
    expect(page.locator("#toasts")).to_be_empty()
    # Time stands still, or what is to be dismissed might have gone by itself.
    page.clock.install(time=0)
    page.clock.pause_at(3600)
    page.locator(f"#row-{id}").get_by_role("button", name="More actions").click()
    page.get_by_role("button", name="Cancel").click()
    toast = page.get_by_role("status").get_by_text("The deployment is cancelled.")
    expect(toast).to_be_visible()
    assert announcer is not None
    assert "cancelled" in announcer.inner_text()
    page.get_by_role("button", name="Dismiss").click()
    expect(toast).to_have_count(0)


def test_filters_are_in_the_address_and_back_goes_back(api: Api, visit: Visit, project: dict[str, Any]) -> None:
    id = ask(api, project)
    page = visit("/deployments")
    row = page.locator(f"#row-{id}")
    page.locator("[name=status]").select_option("failed")
    expect(row).to_have_count(0)
    expect(page.get_by_text("No deployment matches")).to_be_visible()
    expect(page).to_have_url(re.compile("status=failed"))
    page.reload()
    expect(page.locator("[name=status]")).to_have_value("failed")
    page.go_back()
    expect(row).to_be_visible()
    expect(page.locator("[name=status]")).to_have_value("all")


def test_a_row_rolls_back_and_deletes_without_leaving_the_list(
    app: Flask, api: Api, visit: Visit, project: dict[str, Any]
) -> None:
    first, second = deploy(app, api, project), deploy(app, api, project)
    page = visit("/deployments")
    page.get_by_role("button", name="More actions").nth(1).click()
    page.get_by_role("button", name="Roll back to this").click()
    expect(page.locator(f"#row-{first} .live-mark")).to_be_visible()
    expect(page.locator("#toasts")).to_contain_text("Site shows this deployment now.")

    page.get_by_role("button", name="More actions").first.click()
    page.get_by_role("button", name="Delete…").click()
    confirm = page.get_by_role("button", name="Delete deployment")
    expect(confirm).to_be_disabled()
    page.get_by_label("Type Site to confirm").fill("Site")
    confirm.click()
    expect(page.locator(f"#row-{second}")).to_have_count(0)
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.endswith("/deployments")


def test_without_javascript_the_list_and_the_log_are_searched_and_a_deployment_is_cancelled(
    app: Flask, api: Api, visit: Visit, project: dict[str, Any]
) -> None:
    id = ask(api, project)
    agent = open_agent(app, id)
    assert agent is not None
    agent.fetch_order()
    agent.say("one", "two")
    page = visit("/deployments", scripts=False)
    page.locator("[name=search]").fill("site")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile("search=site"))
    page.locator(f"#row-{id}").get_by_role("link", name="View logs").click()
    page.locator(".log-search [name=search]").fill("TWO")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".log-line")).to_have_count(1)
    page.get_by_role("link", name="Show the whole log").click()
    expect(page.locator(".log-line")).to_have_count(2)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#deployment-header .status")).to_have_text("Cancelled")


def test_what_loses_its_place_hands_the_focus_on_and_what_changed_comes_by_itself(
    app: Flask, api: Api, visit: Visit, project: dict[str, Any]
) -> None:
    deploy(app, api, project)
    id = ask(api, project)
    page = visit(f"/deployments/{id}")
    page.get_by_role("button", name="Cancel").focus()
    build(app, id, {"/index.html": b"other"})
    publish(app, id)
    expect(page.locator("#deployment-header .status")).to_have_text("Success")
    expect(page.locator("#changes")).to_contain_text("1 changed")
    assert page.evaluate("document.activeElement !== document.body")
    expect(page).to_have_title("Success · Site · Autostack")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile(r"favicon-success\.svg(\?|$)"))
