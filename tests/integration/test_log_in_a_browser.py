"""The log pane in Chromium against web as it is run: a log of 100,000 lines, and connections that are lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text

from autostack.deployments import logs
from autostack.extensions import db
from tests.people import Api, Person
from tests.processes import below_each_other, kill, processes_where

MAX_LINES = 5_000
LONG = 100_000
SHOWN = "[...document.querySelectorAll('.log-line')].map((line) => Number(line.id.slice(1)))"

Open = Callable[[str], Page]


@pytest.fixture
def open_page(chromium: Browser, address: str, alice: Person) -> Iterator[Open]:
    """Open a page of Alice's; at the end of the test no script may have failed on it."""
    problems: list[str] = []
    context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto("/login")
    sign_in(page, alice)
    page.wait_for_url(lambda url: "/login" not in url)

    def visit(path: str) -> Page:
        page.goto(path)
        return page

    yield visit
    context.close()
    assert problems == []


@pytest.fixture
def id(api: Api, project: dict[str, Any]) -> str:
    """A deployment that waits."""
    made: str = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    return made


@pytest.fixture
def long_log(app: Flask, api: Api, id: str) -> str:
    """A deployment that has ended and said a lot."""
    lines = """
        INSERT INTO deployment_logs (id, deployment_id, seq, message, log_level)
        SELECT gen_random_uuid(), :id, n, '[00:00] line ' || n, 'info' FROM generate_series(1, :lines) n
    """
    api.post(f"/api/deployments/{id}/cancel")
    with app.app_context():
        db.session.execute(text("DELETE FROM deployment_logs"))
        db.session.execute(text(lines), {"id": id, "lines": LONG})
        db.session.execute(text("UPDATE deployments SET log_lines = :lines"), {"lines": LONG})
        db.session.commit()
    return id


def sign_in(page: Page, person: Person) -> None:
    page.locator("[name=email]").fill(person.email)
    page.locator("[name=password]").fill(person.password)
    page.locator("main form button[type=submit]").click()


def say(app: Flask, id: str, first: int, last: int) -> None:
    with app.app_context():
        logs.append(uuid.UUID(id), [logs.Line(f"line {number}") for number in range(first, last + 1)])
        db.session.commit()


def shown(page: Page) -> list[int]:
    numbers: list[int] = page.evaluate(SHOWN)
    return numbers


def wait_for_line(page: Page, number: int) -> None:
    page.wait_for_selector(f"#L{number}", state="attached")


def wait_for_sight(page: Page, number: int) -> None:
    """Wait until a line stands within the pane."""
    script = """(id) => {
        const elements = [document.getElementById(id), document.querySelector(".log-body")];
        const [line, pane] = elements.map((element) => element.getBoundingClientRect());
        return line.top >= pane.top && line.bottom <= pane.bottom;
    }"""
    page.wait_for_function(script, arg=f"L{number}")


def kill_workers(address: str) -> None:
    """Kill the processes that answer; gunicorn starts others."""
    port = str(urlsplit(address).port)
    web = processes_where(
        lambda facts: facts["environ"].get("PORT") == port and "gunicorn" in " ".join(facts["cmdline"])
    )
    kill(below_each_other(web))


def test_of_a_hundred_thousand_lines_a_few_are_on_the_page_and_all_can_be_reached(
    open_page: Open, long_log: str
) -> None:
    page = open_page(f"/deployments/{long_log}")
    wait_for_line(page, LONG)
    wait_for_sight(page, LONG)
    assert len(shown(page)) <= 1_000

    for _ in range(6):
        first = shown(page)[0]
        page.locator("[data-log-earlier]").dispatch_event("click")
        wait_for_line(page, first - 1)
    expect(page.locator(".log-line")).to_have_count(MAX_LINES)
    numbers = shown(page)
    assert numbers == list(range(numbers[0], numbers[0] + MAX_LINES))
    expect(page.locator("[data-log-later]")).to_be_attached()

    page.locator("[data-log-follow]").click()
    wait_for_line(page, LONG)
    wait_for_sight(page, LONG)
    assert len(shown(page)) <= MAX_LINES


def test_a_link_leads_to_lines_that_were_not_loaded_and_a_shift_click_makes_a_range(
    open_page: Open, long_log: str
) -> None:
    page = open_page(f"/deployments/{long_log}#L120-L125")
    wait_for_line(page, 120)
    page.wait_for_selector("#L125.is-target")
    wait_for_sight(page, 120)
    expect(page.locator(".is-target")).to_have_count(6)
    expect(page.locator("[data-log-follow]")).to_have_attribute("aria-pressed", "false")

    page.locator("#L130 > a").click()
    page.locator("#L127 > a").click(modifiers=["Shift"])
    assert page.evaluate("location.hash") == "#L127-L130"
    assert [line.get_attribute("id") for line in page.locator(".is-target").all()] == ["L127", "L128", "L129", "L130"]


def test_a_search_goes_through_all_lines(open_page: Open, long_log: str) -> None:
    page = open_page(f"/deployments/{long_log}")
    wait_for_line(page, LONG)
    field, count = page.locator(".log-search input"), page.locator("[data-log-count]")
    field.fill("LINE 4242")
    expect(count).to_have_text("1 of 11")
    page.wait_for_selector("#L4242.is-found")
    wait_for_sight(page, 4_242)
    field.press("Enter")
    expect(count).to_have_text("2 of 11")
    page.wait_for_selector("#L42420.is-found")
    field.press("Shift+Enter")
    page.locator("[data-log-step='-1']").click()
    expect(count).to_have_text("11 of 11")
    page.wait_for_selector("#L42429.is-found")
    page.wait_for_function("CSS.highlights.get('found').size === 10")
    field.fill("nowhere")
    expect(count).to_have_text("No match")
    field.press("Escape")
    expect(count).to_have_text("")


def test_lines_can_be_unwrapped_and_copied(open_page: Open, app: Flask, api: Api, id: str) -> None:
    say(app, id, 1, 3)
    page = open_page(f"/deployments/{id}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    wrap = page.locator("[data-log-wrap]")
    wrap.click()
    expect(wrap).to_have_attribute("aria-pressed", "false")
    page.reload()
    expect(wrap).to_have_attribute("aria-pressed", "false")
    page.locator("[data-log-copy]").click()
    expect(page.locator("#toasts")).to_contain_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "\n".join(f"00:00 line {number}" for number in (1, 2, 3))


def test_nothing_is_lost_or_repeated_when_web_dies_or_the_network_is_away(
    open_page: Open, app: Flask, address: str, id: str
) -> None:
    say(app, id, 1, 50)
    page = open_page(f"/deployments/{id}")
    state = page.locator("[data-log-state]")
    expect(state).to_have_text("Live")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#L20 > span'))")

    kill_workers(address)
    say(app, id, 51, 100)
    wait_for_line(page, 100)

    page.context.set_offline(True)
    kill_workers(address)
    expect(state).to_have_text("Reconnecting…")
    say(app, id, 101, 150)
    page.context.set_offline(False)
    wait_for_line(page, 150)

    assert shown(page) == list(range(1, 151))
    assert page.evaluate("getSelection().toString()") == "line 20"


def test_who_is_signed_out_meanwhile_is_told_sent_to_sign_in_and_back_to_the_log(
    open_page: Open, app: Flask, alice: Person, id: str
) -> None:
    say(app, id, 1, 1_010)
    page = open_page("/dashboard")
    # The page's head, which asks every few seconds, would lead to the login page by itself.
    page.route("**/_header", lambda route: route.abort())
    page.goto(f"/deployments/{id}")
    state = page.locator("[data-log-state]")
    expect(state).to_have_text("Live")
    with app.app_context():
        db.session.execute(text("DELETE FROM sessions"))
        db.session.commit()
    expect(state).to_have_text("Disconnected")
    expect(page.locator("[data-log-refused]")).to_be_visible()

    page.locator("[data-log-earlier]").dispatch_event("click")
    page.wait_for_url(f"**/login?next=/deployments/{id}")
    sign_in(page, alice)
    page.wait_for_url(f"**/deployments/{id}")
    page.context.clear_cookies()
    page.locator(".log-search input").fill("line")
    page.wait_for_url(f"**/login?next=/deployments/{id}")


def test_a_line_that_comes_live_stands_as_those_that_the_page_came_with(open_page: Open, app: Flask, id: str) -> None:
    say(app, id, 1, 1)
    page = open_page(f"/deployments/{id}")
    expect(page.locator("[data-log-state]")).to_have_text("Live")
    say(app, id, 2, 2)
    expect(page.locator("#L1")).to_have_text("100:00line 1")
    expect(page.locator("#L2")).to_have_text("200:00line 2")


def test_a_link_to_a_line_leads_there_by_way_of_the_log_in(open_page: Open, app: Flask, alice: Person, id: str) -> None:
    say(app, id, 1, 30)
    page = open_page("/projects")
    page.context.clear_cookies()
    page.goto(f"/deployments/{id}#L12")
    page.wait_for_url(lambda url: "/login?next=" in url)
    sign_in(page, alice)
    page.wait_for_url(f"**/deployments/{id}#L12")
    page.wait_for_selector("#L12.is-target")
