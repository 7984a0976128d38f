"""A deployment's log on its page, without JavaScript and as the pane asks for it: windows of lines, a search in all."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from flask import Flask

from autostack.deployments import log_pages, logs
from autostack.extensions import db
from tests.people import Api, Browser

LINE = re.compile(r'<li class="log-line" id="L(\d+)"')


@pytest.fixture
def id(api: Api, project: dict[str, Any]) -> str:
    """A deployment that waits."""
    made: str = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    return made


def write(app: Flask, id: str, *texts: str) -> None:
    with app.app_context():
        logs.append(uuid.UUID(id), [logs.Line(text) for text in texts])
        db.session.commit()


def numbers(html: str) -> list[int]:
    return [int(number) for number in LINE.findall(html)]


def link(html: str, name: str) -> str | None:
    """Return where the link to earlier or later lines leads, if it is offered."""
    [(hidden, href)] = re.findall(rf'<p class="log-more"([^>]*)><a href="([^"]*)" data-log-{name}>', html)
    return None if "hidden" in hidden else href.replace("&amp;", "&")


def found(browser: Browser, id: str, text: str) -> list[int]:
    answered = browser.get(f"/deployments/{id}/_log_search", query_string={"search": text})
    lines: list[int] = answered.json["lines"]
    return lines


def test_a_long_log_is_shown_from_its_end_and_read_backwards_by_links(app: Flask, browser: Browser, id: str) -> None:
    write(app, id, *(f"line {number}" for number in range(1, 2_501)))
    newest = browser.get(f"/deployments/{id}").text
    assert numbers(newest) == list(range(1_501, 2_501))
    assert link(newest, "later") is None
    middle = browser.get(link(newest, "earlier") or "").text
    assert numbers(middle) == list(range(501, 1_501))
    assert numbers(browser.get(link(middle, "later") or "").text) == list(range(1_501, 2_501))
    oldest = browser.get(link(middle, "earlier") or "").text
    assert numbers(oldest)[0] == 1
    assert link(oldest, "earlier") is None


def test_the_pane_asks_for_the_lines_that_follow_a_number(app: Flask, browser: Browser, id: str) -> None:
    write(app, id, "one", "\x1b[32mtwo\x1b[0m", "three")
    html = browser.get(f"/deployments/{id}/_log_lines?after=1&limit=1").text
    assert numbers(html) == [2]
    assert '<span class="ansi-32">two</span>' in html
    assert browser.get(f"/deployments/{id}/_log_lines?after=-1").status_code == 422
    assert browser.get(f"/deployments/{id}?after=-1").status_code == 422


def test_a_search_finds_what_is_read_in_any_case_and_whatever_its_colours_are(
    app: Flask, browser: Browser, id: str
) -> None:
    write(app, id, "An Error", "no er\x1b[31mror\x1b[0m there", "fine", "100% done", "[00:00] is said")
    assert found(browser, id, "ERROR") == [1, 2]
    assert found(browser, id, "31m") == []
    assert found(browser, id, "100%") == [4]
    assert found(browser, id, "%") == [4]
    # The time is a column of its own.
    assert found(browser, id, "00:00") == [5]
    assert found(browser, id, "") == []


def test_a_search_that_finds_too_much_says_so(
    app: Flask, browser: Browser, id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "MOST_FOUND", 2)
    write(app, id, "a", "a", "a")
    assert browser.get(f"/deployments/{id}/_log_search?search=a").json == {"lines": [1, 2], "more": True}


def test_without_javascript_a_search_shows_the_lines_and_each_leads_to_its_place(
    app: Flask, browser: Browser, id: str
) -> None:
    write(app, id, *(f"line {number}" for number in range(1, 301)))
    html = browser.get(f"/deployments/{id}?search=line+30").text
    assert numbers(html) == [30, 300]
    assert "2 lines with “line 30”" in html
    assert f'href="/deployments/{id}?after=200#L300"' in html
    assert numbers(browser.get(f"/deployments/{id}?after=200").text)[-1] == 300
    assert "0 lines with “&lt;b&gt;”" in browser.get(f"/deployments/{id}?search=%3Cb%3E").text


def test_a_stranger_reads_and_finds_nothing(app: Flask, strangers_browser: Browser, id: str) -> None:
    write(app, id, "secret")
    for path in ("_log_lines", "_log_search?search=secret", "logs.txt"):
        assert strangers_browser.get(f"/deployments/{id}/{path}").status_code == 404
