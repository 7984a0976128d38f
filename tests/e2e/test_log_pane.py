"""The live log pane in a real browser, against a server that speaks the stream's events and misbehaves on purpose."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from socket import SHUT_WR
from typing import Any

import pytest
from flask import Flask, Response, render_template
from flask_sock import Sock
from flask_wtf.csrf import CSRFProtect
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from simple_websocket import ConnectionClosed
from sqlalchemy.orm import configure_mappers
from werkzeug.serving import make_server

from autostack.accounts.models import User, UserPreferences
from autostack.builds import models as _build_models
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.projects.models import Project
from autostack.status import models as _status_models
from autostack.web import templating

del _build_models, _status_models
configure_mappers()

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
MAX_LINES = 5000
MOST_FOUND = 5000
NOT_ALLOWED, TRY_AGAIN_LATER = 1008, 1013

Connection = Callable[[Any, int], None]


def send_lines(socket: Any, numbers: range) -> None:
    for seq in numbers:
        message = f"[{seq // 60:02d}:{seq % 60:02d}] line {seq}"
        html = message.replace("line", '<span class="ansi-32">line</span>')
        socket.send(json.dumps({"type": "log", "seq": seq, "level": "info", "message": message, "html": html}))


def turn_away(socket: Any, code: int) -> None:
    """Close a socket, and the connection, on which Werkzeug would send bytes that no websocket understands."""
    socket.close(code)
    socket.sock.shutdown(SHUT_WR)


class Server:
    """A deployment's page and its stream. `connections` says what each websocket in turn gets to see."""

    def __init__(self) -> None:
        user = User(name="Alice", email="alice@example.com", preferences=UserPreferences(theme="system"))
        project = Project(id=uuid.uuid4(), name="site", repository="https://git.example.com/site", user=user)
        self.user = user
        self.deployment = Deployment(
            id=uuid.uuid4(),
            project=project,
            project_id=project.id,
            user=user,
            status=Status.BUILDING,
            branch="main",
            created_at=datetime.now(UTC),
            started_at=datetime.now(UTC),
        )
        self.connections: list[Connection] = []
        self.subscriptions: list[dict[str, Any]] = []
        self.go_on = threading.Event()
        self.log: dict[str, Any] = {"log_lines": [], "newest_line": 0}
        self.found: dict[str, Any] = {"lines": [], "more": False}
        self._http = make_server("127.0.0.1", 0, self._app(), threaded=True)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/"

    def stop(self) -> None:
        self.go_on.set()
        self._http.shutdown()

    def finish(self, socket: Any) -> None:
        self.deployment.status = Status.SUCCESS
        self.deployment.build_duration = 77
        socket.send(json.dumps({"type": "deployment_complete", "status": "success", "duration": "1m 17s"}))
        # The browser closes. Werkzeug would end the connection with bytes that no websocket understands.
        socket.receive()

    def _app(self) -> Flask:
        app = Flask("autostack", root_path=str(templating.PACKAGE))
        app.secret_key = "only for the CSRF tokens of this test"
        app.config["WTF_CSRF_CHECK_DEFAULT"] = False
        CSRFProtect(app)
        templating.register(app)
        app.url_build_error_handlers.append(lambda error, endpoint, values: f"/{endpoint}")
        for path in ("/", "/deployments.detail"):
            app.add_url_rule(path, view_func=lambda: self._render("detail"), endpoint=path)
        app.add_url_rule("/deployments.header", "header", lambda: self._render("_header"))
        app.add_url_rule("/deployments.changes", "changes", lambda: "")
        app.add_url_rule("/deployment_logs.search", "search", lambda: self.found)
        app.add_url_rule("/deployment_logs.lines", "lines", lambda: "")
        Sock(app).route("/api/deployments/<id>/logs/stream")(self._stream)

        @app.after_request
        def forbid_everything_inline(response: Response) -> Response:
            response.headers["Content-Security-Policy"] = POLICY
            return response

        return app

    def _render(self, name: str) -> str:
        context = {"url": None, "immutable_url": "http://site.localhost:8080", "stages": [], **self.log}
        return render_template(
            f"deployments/{name}.html",
            deployment=self.deployment,
            current_user=self.user,
            can_cancel=not self.deployment.state.is_final,
            **context,
        )

    def _stream(self, socket: Any, id: str) -> None:
        subscription = json.loads(socket.receive())
        self.subscriptions.append(subscription)
        try:
            self.connections.pop(0)(socket, subscription["after"])
        except ConnectionClosed:
            return


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page that fails the test if the browser reports an error, a breach of the policy included."""
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A dropped websocket is reported as an error, and is what some of these tests are about.
        if message.type == "error" and "WebSocket" not in message.text:
            problems.append(message.text)

    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.close()
    assert problems == []


def shown(page: Page) -> list[int]:
    numbers: list[int] = page.evaluate("[...document.querySelectorAll('.log-line')].map((line) => +line.id.slice(1))")
    return numbers


def wait_for_line(page: Page, seq: int) -> None:
    # `expect` describes the whole page at each look, which takes the page's time where it is long.
    page.wait_for_selector(f"#L{seq}", state="attached", timeout=120_000)


def test_a_dropped_connection_resumes_without_a_gap_or_a_repeat(server: Server, page: Page) -> None:
    def drops(socket: Any, after: int) -> None:
        send_lines(socket, range(after + 1, 101))
        # What the page has not read yet when the connection breaks is lost with it.
        server.go_on.wait(300)
        socket.close()

    def repeats_and_finishes(socket: Any, after: int) -> None:
        send_lines(socket, range(after - 10, 201))
        server.finish(socket)

    server.connections = [drops, repeats_and_finishes]
    page.goto(server.url)
    wait_for_line(page, 20)
    server.go_on.set()
    wait_for_line(page, 200)

    assert shown(page) == list(range(1, 201))
    first, second = (subscription["after"] for subscription in server.subscriptions)
    assert first == 0
    assert 20 <= second <= 100
    assert page.locator("#L120 > span").inner_text() == "line 120"


def test_lines_lost_on_the_way_are_asked_for_again(server: Server, page: Page) -> None:
    def loses_one(socket: Any, after: int) -> None:
        send_lines(socket, range(1, 50))
        send_lines(socket, range(51, 60))
        socket.receive()

    def has_them_all(socket: Any, after: int) -> None:
        send_lines(socket, range(after + 1, 101))
        server.finish(socket)

    server.connections = [loses_one, has_them_all]
    page.goto(server.url)
    wait_for_line(page, 100)

    assert shown(page) == list(range(1, 101))
    assert server.subscriptions[1]["after"] == 49


def test_the_end_changes_header_title_and_icon(server: Server, page: Page) -> None:
    def finishes(socket: Any, after: int) -> None:
        send_lines(socket, range(1, 4))
        server.finish(socket)

    server.connections = [finishes]
    page.goto(server.url)

    # The first that goes away again.
    expect(page.locator("#toasts")).to_contain_text("Deployed in 1m 17s.")
    expect(page).to_have_title("Success · site · Autostack")
    expect(page.locator("#deployment-header .status")).to_have_text("Success")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("favicon-success.svg$"))
    expect(page.locator("[data-log-state]")).to_have_text("Ended")
    assert len(server.subscriptions) == 1


def test_a_flood_is_capped_and_leads_to_the_rest(server: Server, page: Page) -> None:
    def floods(socket: Any, after: int) -> None:
        send_lines(socket, range(after + 1, 7_001))
        server.finish(socket)

    server.connections = [floods]
    page.goto(server.url)
    wait_for_line(page, 7_000)

    assert shown(page) == list(range(7_001 - MAX_LINES, 7_001))
    expect(page.locator("[data-log-earlier]")).to_be_attached()
    expect(page.locator("[data-log-later]")).to_be_hidden()


def test_following_pauses_for_a_reader_and_resumes(server: Server, page: Page) -> None:
    def goes_on_when_told(socket: Any, after: int) -> None:
        send_lines(socket, range(1, 201))
        server.go_on.wait(300)
        send_lines(socket, range(201, 401))
        socket.receive()

    server.connections = [goes_on_when_told]
    page.goto(server.url)
    wait_for_line(page, 200)
    follow = page.locator("[data-log-follow]")
    expect(follow).to_have_attribute("aria-pressed", "true")

    page.locator("#L190").hover()
    page.mouse.wheel(0, -1000)
    expect(follow).to_have_attribute("aria-pressed", "false")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#L150 > span'))")
    position = page.evaluate("document.querySelector('.log-body').scrollTop")
    server.go_on.set()
    wait_for_line(page, 400)

    assert page.evaluate("document.querySelector('.log-body').scrollTop") == position
    assert page.evaluate("getSelection().toString()") == "line 150"
    follow.click()
    expect(page.locator("#L400")).to_be_in_viewport()


def test_a_link_to_a_line_marks_it_once_it_comes(server: Server, page: Page) -> None:
    def sends(socket: Any, after: int) -> None:
        send_lines(socket, range(1, 401))
        server.finish(socket)

    server.connections = [sends]
    page.goto(server.url + "#L120")
    wait_for_line(page, 400)

    expect(page.locator("#L120")).to_be_in_viewport()
    expect(page.locator(".is-target")).to_have_attribute("id", "L120")


def test_a_search_keeps_up_with_a_flood_in_which_every_line_matches(server: Server, page: Page) -> None:
    def floods_when_told(socket: Any, after: int) -> None:
        send_lines(socket, range(1, 21))
        server.go_on.wait(300)
        send_lines(socket, range(21, MOST_FOUND + 101))
        server.finish(socket)

    server.connections = [floods_when_told]
    # The server had a line when it was asked that has not come here yet: it is the same line when it comes.
    server.found = {"lines": list(range(1, 22)), "more": False}
    page.goto(server.url)
    wait_for_line(page, 20)
    page.locator(".log-search input").fill("LINE")
    count = page.locator("[data-log-count]")
    expect(count).to_have_text("1 of 21")

    server.go_on.set()
    page.wait_for_selector("[data-log-state][data-state=ended]", timeout=120_000)
    expect(count).to_have_text(f"1 of {MOST_FOUND}+")
    assert 10 < page.evaluate("CSS.highlights.get('found').size") < 200
    page.locator("[data-log-step='-1']").click()
    page.wait_for_selector(f"#L{MOST_FOUND}.is-found")
    expect(page.locator(f"#L{MOST_FOUND}")).to_be_in_viewport()


def test_a_match_is_painted_across_the_colours_of_its_line(server: Server, page: Page) -> None:
    def sends(socket: Any, after: int) -> None:
        send_lines(socket, range(1, 13))
        socket.receive()

    server.connections = [sends]
    server.found = {"lines": [1, 10, 11, 12], "more": False}
    page.goto(server.url)
    wait_for_line(page, 12)
    page.locator(".log-search input").fill("NE 1")
    expect(page.locator("[data-log-count]")).to_have_text("1 of 4")

    painted = """[...CSS.highlights.get("found")].map(({ startContainer, startOffset, endContainer, endOffset }) => {
        const range = new Range();
        range.setStart(startContainer, startOffset);
        range.setEnd(endContainer, endOffset);
        return range.toString();
    })"""
    assert page.evaluate(painted) == ["ne 1"] * 4


def test_who_is_turned_away_is_told_and_tries_no_more(server: Server, page: Page) -> None:
    def is_full(socket: Any, after: int) -> None:
        turn_away(socket, TRY_AGAIN_LATER)

    def refuses(socket: Any, after: int) -> None:
        server.go_on.wait(300)
        turn_away(socket, NOT_ALLOWED)

    def knows_them_again(socket: Any, after: int) -> None:
        send_lines(socket, range(1, 4))
        socket.receive()

    server.connections = [is_full, refuses, knows_them_again]
    page.goto(server.url)
    state = page.locator("[data-log-state]")
    expect(state).to_have_text("Too many open connections, waiting…")
    server.go_on.set()

    expect(state).to_have_text("Disconnected")
    expect(page.locator("[data-log-refused]")).to_contain_text("You are signed out, or this deployment is gone.")
    # What makes a page that only lost its connection try at once.
    page.evaluate("window.dispatchEvent(new Event('online'))")
    page.locator("[data-log-refused] a").click()
    wait_for_line(page, 3)
    assert len(server.subscriptions) == 3


def test_what_cannot_be_loaded_is_said_to_be_and_can_be_asked_for_again(server: Server, chromium: Browser) -> None:
    server.deployment.status = Status.SUCCESS
    shown_first = [{"seq": seq, "time": "00:00", "level": "info", "html": f"line {seq}"} for seq in (1_001, 1_002)]
    server.log = {"log_lines": shown_first, "newest_line": 1_002}
    server.found = {"lines": [1_001], "more": False}
    page = chromium.new_page()
    page.goto(server.url)
    wait_for_line(page, 1_002)
    page.context.set_offline(True)
    page.locator("[data-log-earlier]").dispatch_event("click")
    expect(page.locator("#toasts")).to_contain_text("These lines could not be loaded.")
    field, count = page.locator(".log-search input"), page.locator("[data-log-count]")
    field.fill("line")
    expect(count).to_have_text("Try again")

    page.context.set_offline(False)
    field.press("Enter")
    expect(count).to_have_text("1 of 1")
    page.close()
