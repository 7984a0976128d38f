"""The log's websocket as an API client uses it: the spec's events, from where it stands, for the owner alone."""

from __future__ import annotations

import json
import uuid

import pytest
from simple_websocket import Client, ConnectionClosed

from tests.git_server import make_repository, serve_repositories
from tests.stack import PASSWORD, running_stack

POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013
CAPS = {"DATABASE_POOL_SIZE": "2", "MAX_SOCKETS": "5", "MAX_SOCKETS_PER_ADDRESS": "4", "MAX_SOCKETS_PER_USER": "3"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    # One process, so that all sockets are counted together.
    with running_stack(tmp_path_factory.mktemp("stack"), env={"WEB_CONCURRENCY": "1", **CAPS}) as running:
        yield running


@pytest.fixture(scope="module")
def strangers_token(stack):
    return stack.sign_up("charlie@example.com", "Charlie")["token"]


@pytest.fixture(scope="module")
def token(stack, strangers_token):
    return stack.sign_up()["token"]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """A folder of repositories, and the server that they are cloned from."""
    folder = tmp_path_factory.mktemp("repositories")
    with serve_repositories(folder) as server:
        yield folder, server


@pytest.fixture(scope="module")
def repository(repositories):
    folder, server = repositories
    script = (
        "process.stdout.write('\\u001b[31mred <b>\\u001b[0m\\n');require('fs').cpSync('page','dist',{recursive:true})"
    )
    manifest = json.dumps({"name": "colours", "scripts": {"build": "node build.js"}})
    make_repository(folder / "colours", {"package.json": manifest, "build.js": script, "page/index.html": "hi"})
    return server.url("colours")


def listen(stack, deployment_id, token, subscription=None):
    """Connect, subscribe, and return every event up to the last."""
    query = f"?token={token}" if token else ""
    address = f"ws://127.0.0.1:{stack.port}/api/deployments/{deployment_id}/logs/stream{query}"
    socket = Client(address)
    events = []
    try:
        socket.send(json.dumps(subscription or {"type": "subscribe", "deploymentId": str(deployment_id)}))
        while not events or events[-1]["type"] != "deployment_complete":
            events.append(json.loads(socket.receive(timeout=60)))
    except ConnectionClosed as closed:
        if closed.reason == TRY_AGAIN_LATER:
            # That an earlier one has left is noticed in a moment.
            return listen(stack, deployment_id, token, subscription)
    else:
        socket.close()
    return events


@pytest.fixture(scope="module")
def heard(stack, token, repository):
    """A deployment, and what was heard of it from its beginning to its end."""
    deployment = stack.deploy(repository)
    return deployment, listen(stack, deployment["id"], token)


def test_a_client_hears_every_line_each_status_and_the_end(stack, heard):
    deployment, events = heard
    lines = [event for event in events if event["type"] == "log"]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    stored = stack.call("GET", f"/api/deployments/{deployment['id']}/logs")["logs"]
    assert [(line["timestamp"], line["level"], line["message"]) for line in lines] == [
        (line["timestamp"], line["level"], line["message"]) for line in stored
    ]
    assert [event["status"] for event in events if event["type"] == "status_update"][-1] == "success"
    end = events[-1]
    shown = stack.call("GET", f"/api/deployments/{deployment['id']}")
    assert (end["status"], end["url"], end["duration"]) == ("success", shown["url"], shown["duration"])


def test_colours_are_left_out_unless_html_is_asked_for(stack, token, heard):
    deployment, events = heard
    assert any(event.get("message", "").endswith("red <b>") for event in events)
    wish = {"type": "subscribe", "deploymentId": deployment["id"], "format": "html"}
    pages = [event.get("html", "") for event in listen(stack, deployment["id"], token, wish)]
    assert any('<span class="ansi-31">red &lt;b&gt;</span>' in html for html in pages)


def test_a_client_goes_on_after_the_line_that_it_has(stack, token, heard):
    deployment, events = heard
    last = max(event["seq"] for event in events if event["type"] == "log")
    wish = {"type": "subscribe", "deploymentId": deployment["id"], "after": last - 2}
    again = listen(stack, deployment["id"], token, wish)
    assert [event["seq"] for event in again if event["type"] == "log"] == [last - 1, last]


def test_a_stranger_nobody_and_a_wrong_token_hear_nothing(stack, strangers_token, heard):
    deployment, _ = heard
    for other in (strangers_token, None, "wrong"):
        assert listen(stack, deployment["id"], other) == []


def test_naming_another_deployment_ends_the_connection(stack, token, heard):
    deployment, _ = heard
    wish = {"type": "subscribe", "deploymentId": str(uuid.uuid4())}
    assert listen(stack, deployment["id"], token, wish) == []
    assert listen(stack, deployment["id"], token, {"type": "hello"}) == []


@pytest.mark.parametrize("after", [-1, 2**53 + 1, 10**30])
def test_a_line_that_cannot_be_ends_the_connection(stack, token, heard, after):
    deployment, _ = heard
    wish = {"type": "subscribe", "deploymentId": deployment["id"], "after": after}
    assert listen(stack, deployment["id"], token, wish) == []


def test_a_message_nested_too_deeply_ends_the_connection_as_not_allowed(stack, token, heard):
    deployment, _ = heard
    address = f"ws://127.0.0.1:{stack.port}/api/deployments/{deployment['id']}/logs/stream?token={token}"
    reason = TRY_AGAIN_LATER
    while reason == TRY_AGAIN_LATER:
        reason = closed_with(Client(address), "[" * 4000)
    assert reason == POLICY_VIOLATION


def connect(stack, deployment_id, token):
    """Open a socket, subscribe and hear something; return it, or the code that the server closed it with."""
    address = f"ws://127.0.0.1:{stack.port}/api/deployments/{deployment_id}/logs/stream?token={token}"
    try:
        socket = Client(address)
        socket.send(json.dumps({"type": "subscribe", "deploymentId": deployment_id}))
        assert json.loads(socket.receive(timeout=60))
    except ConnectionClosed as closed:
        return closed.reason
    return socket


def connect_when_there_is_room(stack, deployment_id, token):
    """Open a socket as soon as it is noticed that earlier ones have left."""
    while isinstance(socket := connect(stack, deployment_id, token), int):
        assert socket == TRY_AGAIN_LATER
    return socket


def closed_with(socket, said=None):
    """Return the code that the server closes a socket with, after whatever it says first, and is told."""
    try:
        if said:
            socket.send(said)
        while socket.receive(timeout=60) is not None:
            pass
    except ConnectionClosed as closed:
        return closed.reason
    return None


@pytest.fixture
def endless(stack, token, repositories):
    """A deployment that goes on building until it is cancelled."""
    folder, server = repositories
    name = f"endless-{uuid.uuid4().hex[:8]}"
    manifest = json.dumps({"name": "endless", "scripts": {"build": "echo at it; sleep 600"}})
    make_repository(folder / name, {"package.json": manifest})
    deployment = stack.deploy(server.url(name))
    yield deployment["id"]
    stack.call("POST", f"/api/deployments/{deployment['id']}/cancel")


def test_a_user_has_only_so_many_open_at_once(stack, token, endless):
    sockets = [connect_when_there_is_room(stack, endless, token) for _ in range(3)]
    assert connect(stack, endless, token) == TRY_AGAIN_LATER
    sockets.pop().close()
    for socket in (*sockets, connect_when_there_is_room(stack, endless, token)):
        socket.close()


def test_sockets_that_say_nothing_keep_nobody_from_the_database(stack, token, heard):
    deployment, _ = heard
    address = f"ws://127.0.0.1:{stack.port}/api/deployments/{deployment['id']}/logs/stream?token={token}"
    silent = [Client(address) for _ in range(3)]
    assert stack.client.get("/api/projects").status_code == 200
    # None was given up for its silence, so that another might have its connection.
    assert POLICY_VIOLATION not in {socket.close_reason for socket in silent}
    for socket in silent:
        socket.close()


def test_a_socket_ends_with_the_session_that_opened_it(stack, endless):
    credentials = {"email": "alice@example.com", "password": PASSWORD}
    session = stack.call("POST", "/api/auth/login", credentials)["token"]
    socket = connect_when_there_is_room(stack, endless, session)
    logged_out = stack.client.post("/api/auth/logout", headers={"Authorization": f"Bearer {session}"})
    assert logged_out.status_code == 204
    assert closed_with(socket) == POLICY_VIOLATION
