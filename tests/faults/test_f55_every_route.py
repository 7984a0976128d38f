"""55. Every HTTP, HTMX and websocket route, asked by nobody and by a stranger → 401 and 404.

Made from the application's own map of URLs: a new route is asked by itself, and one that this file cannot ask (a public
one that nobody looked at, or an id of a kind that it has no example of) fails until somebody has said what it is.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from simple_websocket import Client, ConnectionClosed, ConnectionError
from sqlalchemy import text
from werkzeug.routing import Rule
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from autostack.extensions import db
from autostack.web.access import ACCESS_ATTRIBUTE
from autostack.web.openapi import document, path_of
from tests.builders import open_agent
from tests.people import Api, Browser, Person

# Whoever makes a route public adds it here, and with it says that anybody may call it.
PUBLIC = {
    *("/healthz", "/", "/static/<path:filename>", "/api/openapi.json", "/docs/api", "/docs"),
    "/<any(pricing, templates, pipelines, monitoring, team, integrations, terms, privacy):name>",
    '/docs/<any(configuration, aws, architecture, isolation, serving, "getting-started", "agent-api"):name>',
    *("/status", "/status/_board", "/status/history"),
    *("/api/status/services", "/api/status/metrics", "/api/status/history", "/api/status/incidents"),
    *("/login", "/login/link", "/signup", "/forgot-password", "/reset-password", "/verify-email"),
    # Whoever was told a picture's address may see it.
    "/avatars/<uuid:id>",
    *("/api/auth/signup", "/api/auth/login", "/api/auth/exchange", "/api/auth/refresh"),
    *("/api/auth/github", "/api/auth/github/callback", "/api/auth/google", "/api/auth/google/callback"),
    *("/api/auth/forgot-password", "/api/auth/reset-password", "/api/auth/verify-email"),
}
# The websockets that anybody may open.
PUBLIC_SOCKETS = {"/api/status/stream"}
# What an argument of a route stands for beside the ids: it is no one's.
PLAIN = {"sha256": "0" * 64, "key": "key", "owner": "octo", "repo": "site", "row": "row"}
POLICY_VIOLATION = 1008

Ids = dict[str, str]


@dataclass(frozen=True)
class Asked:
    """One verb of one route."""

    rule: Rule
    verb: str
    access: str | None

    def __str__(self) -> str:
        return f"{self.verb} {self.rule.rule}"

    def path(self, ids: Ids) -> str:
        """Return the path with these ids; an id is of the kind that stands before it in the path."""
        return re.sub(r"/(\w+)/<uuid:\w+>", lambda match: f"/{match[1]}/{ids[match[1]]}", self._plain())

    @property
    def names_ids(self) -> bool:
        return "<uuid:" in self.rule.rule

    def _plain(self) -> str:
        chosen = re.sub(r"<any\((\w+)[^>]*>", r"\1", self.rule.rule)
        return re.sub(rf"<(?:string:)?({'|'.join(PLAIN)})>", lambda match: PLAIN[match[1]], chosen)

    def body(self, app: Flask, ids: Ids) -> Any:
        """Return a body that the API takes, as its own description has it, naming these ids where it names any."""
        described = _document(app)["paths"].get(path_of(self.rule), {}).get(self.verb.lower(), {})
        if "requestBody" not in described:
            return None
        example = described["requestBody"]["content"]["application/json"]["example"]
        named = {name: ids[f"{name.removesuffix('Id')}s"] for name in example if name.endswith("Id")}
        return {**example, **named}


def _document(app: Flask) -> dict[str, Any]:
    with app.app_context():
        return document(app, "1", "http://localhost")


def every(app: Flask, *, websocket: bool = False) -> Iterator[Asked]:
    for rule in app.url_map.iter_rules():
        declared = getattr(app.view_functions[rule.endpoint], ACCESS_ATTRIBUTE, None)
        if rule.websocket == websocket:
            yield from (Asked(rule, verb, declared) for verb in sorted(rule.methods - {"HEAD", "OPTIONS"}))


@pytest.fixture
def alices(app: Flask, api: Api, alice: Person, browser: Browser, project: dict[str, Any]) -> Ids:
    """The ids of what is Alice's, by the names that stand before them in paths."""
    deployment = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    attempt = open_agent(app, deployment).attempt_id
    draft = browser.post("/deploy", {"projectId": project["id"]}).location.split("/")[2]
    token = api.post("/api/user/tokens", {"name": "CI", "scope": "read"}).json["id"]
    domain = api.post(f"/api/projects/{project['id']}/domains", {"name": "www.example.com"}).json["id"]
    with app.app_context():
        session = db.session.scalar(text("SELECT id FROM sessions WHERE user_id = :id"), {"id": alice.id})
    return {
        "projects": project["id"],
        "deployments": deployment,
        "deploy": draft,
        "attempts": str(attempt),
        "domains": domain,
        "sessions": str(session),
        "tokens": token,
        "users": str(alice.id),
        "avatars": str(uuid.uuid4()),
    }


@pytest.fixture
def unchanged(app: Flask, alices: Ids, strangers_browser: Browser) -> Iterator[None]:
    """Check that nothing was changed from when both had signed in."""
    before = _rows(app)
    yield
    assert _rows(app) == before


def _rows(app: Flask) -> dict[str, list[str]]:
    tables = ("users", "user_preferences", "projects", "site_hosts", "domains")
    deployments = ("deployments", "deployment_stages", "deployment_drafts")
    with app.app_context():
        return {
            table: sorted(db.session.scalars(text(f"SELECT t::text FROM {table} t")))
            for table in (*tables, *deployments, "sessions", "personal_access_tokens")
        }


def ask_as_program(client: Api, app: Flask, asked: Asked, ids: Ids) -> TestResponse:
    options = {"headers": client.headers, "json": asked.body(app, ids)}
    return client.client.open(asked.path(ids), method=asked.verb, **options)


def ask_as_browser(browser: Browser, asked: Asked, ids: Ids, htmx: bool) -> TestResponse:
    headers = {"HX-Request": "true"} if htmx else {}
    if asked.verb == "GET":
        return browser.get(asked.path(ids), headers=headers)
    return browser.post(asked.path(ids), headers=headers)


def wrong(app: Flask, expected: Callable[[Asked], bool], ask: Callable[[Asked], bool]) -> list[str]:
    """Return the routes, of those that are `expected` to refuse, that did not; there must be some to ask."""
    chosen = [asked for asked in every(app) if expected(asked)]
    assert chosen
    return [str(asked) for asked in chosen if not ask(asked)]


def is_api(asked: Asked) -> bool:
    return asked.rule.rule.startswith("/api/")


def is_page(asked: Asked) -> bool:
    return not asked.rule.rule.startswith(("/api/", "/agent/", "/webhooks/"))


def is_guarded(asked: Asked) -> bool:
    return asked.access not in {"public", "agent", None}


def is_own(asked: Asked) -> bool:
    """Tell whether it is about what the caller has: everything guarded but what is for admins."""
    return is_guarded(asked) and asked.access != "superuser"


def test_f55_what_is_public_was_meant_to_be(app: Flask) -> None:
    open_to_all = {asked.rule.rule for asked in every(app) if asked.access in {"public", None}}
    assert open_to_all == PUBLIC


def test_f55_nobody_gets_a_401_of_the_api(app: Flask, alices: Ids, unchanged: None, nobodys_api: Api) -> None:
    def refuses(asked: Asked) -> bool:
        answered = ask_as_program(nobodys_api, app, asked, alices)
        return (answered.status_code, answered.json["error"]["code"]) == (401, "UNAUTHORIZED")

    assert wrong(app, lambda asked: is_api(asked) and is_guarded(asked), refuses) == []


@pytest.mark.parametrize("htmx", [False, True])
def test_f55_nobody_is_sent_to_log_in_by_pages(app, alices, unchanged, nobodys_browser, htmx):
    def refuses(asked: Asked) -> bool:
        answered = ask_as_browser(nobodys_browser, asked, alices, htmx)
        target = answered.headers.get("HX-Redirect" if htmx else "Location", "")
        return answered.status_code == (200 if htmx else 302) and target.startswith("/login")

    assert wrong(app, lambda asked: is_page(asked) and is_guarded(asked), refuses) == []


def test_f55_a_stranger_gets_a_404_of_the_api(app, alices, unchanged, strangers_api):
    def names_an_id(asked: Asked) -> bool:
        body = asked.body(app, alices) or {}
        return asked.names_ids or any(name.endswith("Id") for name in body)

    def refuses(asked: Asked) -> bool:
        return ask_as_program(strangers_api, app, asked, alices).status_code == 404

    assert wrong(app, lambda asked: is_api(asked) and is_own(asked) and names_an_id(asked), refuses) == []


@pytest.mark.parametrize("htmx", [False, True])
def test_f55_a_stranger_gets_a_404_of_pages(app, alices, unchanged, strangers_browser, htmx):
    def refuses(asked: Asked) -> bool:
        return ask_as_browser(strangers_browser, asked, alices, htmx).status_code == 404

    assert wrong(app, lambda asked: is_page(asked) and is_own(asked) and asked.names_ids, refuses) == []


def test_f55_what_is_for_admins_is_forbidden_to_others(app, alices, unchanged, strangers_api, strangers_browser):
    def refuses(asked: Asked) -> bool:
        if is_api(asked):
            return ask_as_program(strangers_api, app, asked, alices).status_code == 403
        return ask_as_browser(strangers_browser, asked, alices, htmx=False).status_code == 403

    assert wrong(app, lambda asked: asked.access == "superuser", refuses) == []


@pytest.mark.parametrize("token", [None, "users", "made-up"])
def test_f55_who_is_no_agent_gets_a_401_of_the_agents_routes(app, alices, unchanged, charlie, token):
    caller = Api(app, charlie.token if token == "users" else token)

    def refuses(asked: Asked) -> bool:
        return ask_as_program(caller, app, asked, alices).status_code == 401

    assert wrong(app, lambda asked: asked.access == "agent", refuses) == []


def test_f55_no_id_that_is_nobodys_answers_otherwise_than_a_strangers(app, alices, strangers_api):
    """Who may not see a thing cannot learn either whether it is there."""
    unused = {kind: str(uuid.uuid4()) for kind in alices}

    def answers_alike(asked: Asked) -> bool:
        theirs, none = (ask_as_program(strangers_api, app, asked, ids) for ids in (alices, unused))
        wording = [re.sub(r"[0-9a-f-]{36}", "ID", answered.text) for answered in (theirs, none)]
        return theirs.status_code == none.status_code == 404 and wording[0] == wording[1]

    assert wrong(app, lambda asked: is_api(asked) and is_own(asked) and asked.names_ids, answers_alike) == []


@pytest.mark.parametrize("who", ["nobody", "stranger", "strangers_browser", "another_sites_page"])
def test_f55_no_websocket_says_a_word_to_nobody_or_a_stranger(app, alices, charlie, browser, strangers_browser, who):
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.port}"
    query, headers = {
        "nobody": ("", {}),
        "stranger": (f"?token={charlie.token}", {}),
        "strangers_browser": ("", {"Cookie": f"session={strangers_browser.cookie()}", "Origin": here}),
        "another_sites_page": ("", {"Cookie": f"session={browser.cookie()}", "Origin": "https://evil.example"}),
    }[who]
    try:
        sockets = [asked for asked in every(app, websocket=True) if asked.rule.rule not in PUBLIC_SOCKETS]
        assert sockets
        for asked in sockets:
            address = f"ws://127.0.0.1:{server.port}{asked.path(alices)}{query}"
            assert _heard(address, headers, alices) in ([POLICY_VIOLATION], [401], [404]), str(asked)
    finally:
        server.shutdown()


def _heard(address: str, headers: dict[str, str], ids: Ids) -> list[Any]:
    """Return every word that a websocket says to a wish for the log, and at last how it closed."""
    heard: list[Any] = []
    try:
        socket = Client(address, headers=headers)
        socket.send(json.dumps({"type": "subscribe", "deploymentId": ids["deployments"]}))
        while (word := socket.receive(timeout=60)) is not None:
            heard.append(word)
    except ConnectionClosed as closed:
        heard.append(int(closed.reason))
    except ConnectionError as refused:
        heard.append(refused.status_code)
    return heard


def test_f55_every_id_in_a_path_is_known_here(app: Flask, alices: Ids) -> None:
    for asked in (*every(app), *every(app, websocket=True)):
        if asked.rule.rule != "/static/<path:filename>":
            assert "<" not in asked.path(alices), f"{asked}: of what kind is its id?"
