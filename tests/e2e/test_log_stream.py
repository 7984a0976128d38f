"""The log's websocket as an API client uses it: the spec's events, from where it stands, for the owner alone."""

from __future__ import annotations

import json
import uuid

import pytest
from simple_websocket import Client, ConnectionClosed

from tests.git_server import make_repository, serve_repositories
from tests.stack import running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def strangers_token(stack):
    return stack.sign_up("charlie@example.com", "Charlie")["token"]


@pytest.fixture(scope="module")
def token(stack, strangers_token):
    return stack.sign_up()["token"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repositories")
    script = (
        "process.stdout.write('\\u001b[31mred <b>\\u001b[0m\\n');require('fs').cpSync('page','dist',{recursive:true})"
    )
    manifest = json.dumps({"name": "colours", "scripts": {"build": "node build.js"}})
    make_repository(folder / "colours", {"package.json": manifest, "build.js": script, "page/index.html": "hi"})
    with serve_repositories(folder) as server:
        yield server.url("colours")


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
    except ConnectionClosed:
        pass
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
    socket = Client(f"ws://127.0.0.1:{stack.port}/api/deployments/{deployment['id']}/logs/stream?token={token}")
    socket.send("[" * 4000)
    with pytest.raises(ConnectionClosed) as closed:
        socket.receive(timeout=30)
    assert closed.value.reason == 1008
