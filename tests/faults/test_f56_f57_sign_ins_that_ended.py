"""56. A refresh token used twice, or twice at once → the family is revoked.

57. Session fixation; logout, change of password and deletion of the account → old cookies, tokens and open sockets die.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from simple_websocket import Client, ConnectionClosed

from tests.git_server import make_repository, serve_repositories
from tests.stack import PASSWORD, Stack, running_stack

POLICY_VIOLATION, NORMAL = 1008, 1000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), builders=1) as running:
        yield running


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One whose build goes on until it is cancelled, so that sockets stay open."""
    folder = tmp_path_factory.mktemp("repositories")
    manifest = json.dumps({"name": "endless", "scripts": {"build": "sleep 600"}})
    make_repository(folder / "endless", {"package.json": manifest})
    with serve_repositories(folder) as server:
        yield server.url("endless")


@dataclass
class SignedIn:
    """One person's ways in, all of them open: a session's tokens, a browser, an access token, and sockets."""

    stack: Stack
    email: str
    tokens: dict[str, Any]
    browser: httpx2.Client
    access_token: str
    sockets: list[Client]

    def call(self, method: str, path: str, token: str, body: Any = None) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{self.stack.port}{path}"
        return httpx2.request(method, url, headers=headers, json=body, trust_env=False, timeout=60).status_code

    def is_let_in(self) -> dict[str, bool]:
        return {
            "token": self.call("GET", "/api/projects", self.tokens["token"]) == 200,
            "access token": self.call("GET", "/api/projects", self.access_token) == 200,
            "cookie": self.browser.get("/projects").status_code == 200,
        }

    def sockets_are_closed(self) -> bool:
        return all(map(is_closed, self.sockets))


def is_closed(socket: Client) -> bool:
    """Tell whether the server closes a socket: as not allowed, or because what it listened to is gone."""
    try:
        while socket.receive(timeout=60) is not None:
            pass
    except ConnectionClosed as closed:
        return bool(closed.reason in {POLICY_VIOLATION, NORMAL})
    return False


def browse(stack: Stack) -> httpx2.Client:
    return httpx2.Client(base_url=f"http://localhost:{stack.port}", trust_env=False, timeout=60)


def log_in(browser: httpx2.Client, email: str) -> None:
    page = browser.get("/login").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token
    fields = {"csrf_token": token[1], "email": email, "password": PASSWORD}
    assert browser.post("/login", data=fields).status_code == 303


@pytest.fixture
def person(stack: Stack, repository: str, request: pytest.FixtureRequest) -> Iterator[SignedIn]:
    email = f"{abs(hash(request.node.name))}@example.com"
    owner = stack.sign_up(email)
    made = stack.call("POST", "/api/user/tokens", {"name": "CI", "scope": "read"})
    deployment = stack.deploy(repository)["id"]
    browser = browse(stack)
    log_in(browser, email)
    tokens = stack.call("POST", "/api/auth/login", {"email": email, "password": PASSWORD})
    ticket = stack.client.post("/api/auth/ticket", headers={"Authorization": f"Bearer {tokens['token']}"}).json()
    ways = (f"token={tokens['token']}", f"token={made['token']}", f"ticket={ticket['ticket']}")
    sockets = [listen(stack, deployment, way) for way in ways]
    yield SignedIn(stack, email, {**tokens, "owner": owner["token"]}, browser, made["token"], sockets)
    stack.client.post(f"/api/deployments/{deployment}/cancel")
    browser.close()


def listen(stack: Stack, deployment: str, way: str) -> Client:
    socket = Client(f"ws://127.0.0.1:{stack.port}/api/deployments/{deployment}/logs/stream?{way}")
    socket.send(json.dumps({"type": "subscribe", "deploymentId": deployment}))
    assert json.loads(socket.receive(timeout=60))
    return socket


@pytest.mark.parametrize("at_once", [1, 6])
def test_f56_a_refresh_token_that_comes_again_ends_its_family(stack: Stack, at_once: int) -> None:
    first = stack.sign_up(f"refreshing-{at_once}@example.com")
    url = f"http://127.0.0.1:{stack.port}/api/auth/refresh"

    def refresh(_: int) -> httpx2.Response:
        return httpx2.post(url, json={"refreshToken": first["refreshToken"]}, trust_env=False, timeout=60)

    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(refresh, range(at_once)))
    answers.append(refresh(0))
    won = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 401}
    # Of several at once the first may find its session ended by the second before it is answered.
    assert len(won) == 1 or (at_once > 1 and not won)
    for tokens in (first, *won):
        headers = {"Authorization": f"Bearer {tokens['token']}"}
        assert stack.client.get("/api/projects", headers=headers).status_code == 401
        again = httpx2.post(url, json={"refreshToken": tokens["refreshToken"]}, trust_env=False, timeout=60)
        assert again.status_code == 401


def test_f57_a_cookie_that_was_planted_is_nobodys_after_the_log_in(stack: Stack) -> None:
    stack.sign_up("victim@example.com")
    with browse(stack) as victim, browse(stack) as attacker:
        for browser in (victim, attacker):
            browser.cookies.set("session", "A" * 43, domain="localhost.local")
        log_in(victim, "victim@example.com")
        assert victim.get("/projects").status_code == 200
        assert attacker.get("/projects").status_code == 302


def change_password(person: SignedIn) -> None:
    body = {"currentPassword": PASSWORD, "newPassword": "another horse battery"}
    assert person.call("PUT", "/api/user/password", person.tokens["owner"], body) == 204


def delete_account(person: SignedIn) -> None:
    assert person.call("DELETE", "/api/user/account", person.tokens["owner"], {"password": PASSWORD}) == 204


@pytest.mark.parametrize("end", [change_password, delete_account])
def test_f57_what_ends_every_sign_in_ends_each_of_them(person: SignedIn, end: Callable[[SignedIn], None]) -> None:
    assert all(person.is_let_in().values())
    end(person)
    assert not any(person.is_let_in().values())
    assert person.sockets_are_closed()


def test_f57_logging_out_ends_what_was_signed_in_and_nothing_else(person: SignedIn) -> None:
    assert person.call("POST", "/api/auth/logout", person.tokens["token"]) == 204
    assert person.is_let_in() == {"token": False, "access token": True, "cookie": True}
    by_token, by_access_token, by_ticket = person.sockets
    assert is_closed(by_token)
    assert is_closed(by_ticket)
    assert by_access_token.connected
    by_access_token.close()
