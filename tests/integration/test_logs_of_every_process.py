"""Every process of a running Autostack logs JSON, and one request's id leads through all that was done for it."""

from __future__ import annotations

import json
import time

import pytest

from tests.stack import PASSWORD, running_stack

SECRET = "planted-in-an-environment-variable"
OURS = ("web", "worker", "builder", "clock", "proxy")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    env = {"LOG_FORMAT": "json"}
    with running_stack(tmp_path_factory.mktemp("stack"), env=env, builders=1) as running:
        running.client.headers["X-Request-ID"] = "sign-up-0001"
        running.sign_up()
        yield running


def lines_of(stack, name):
    path = stack.data_dir / "log" / f"{name}.log"
    # The last line may be only half written.
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def find(stack, name, event, within_s=120, **facts):
    """Wait for a process's line of this event with these facts."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        for line in lines_of(stack, name):
            if line["event"] == event and facts.items() <= line.items():
                return line
        time.sleep(0.1)
    raise AssertionError(f"no {event} with {facts} in {name}'s log: {lines_of(stack, name)[-20:]}")


def test_a_request_is_found_in_the_logs_of_all_who_worked_for_it_and_no_secret_is(stack, site):
    project = stack.call("POST", "/api/projects", {"name": "s", "repository": site, "envVars": f"KEY={SECRET}"}, 201)
    stack.client.headers["X-Request-ID"] = "deploy-0001"
    deployment = stack.call("POST", "/api/deployments", {"projectId": project["id"]}, 201)
    ids = {"deployment_id": deployment["id"], "request_id": "deploy-0001"}
    user = find(stack, "web", "deployment requested", **ids)["user_id"]
    attempt = find(stack, "builder", "attempt opened", **ids, user_id=user)
    find(stack, "web", "deployment moved", deployment_id=deployment["id"], status="building")
    find(stack, "web", "attempt ended", attempt_id=attempt["attempt_id"], outcome="built")
    find(stack, "worker", "deployment moved", deployment_id=deployment["id"], status="success")
    find(stack, "builder", "job", job="autostack.builds.jobs.start_build", succeeded=True, request_id="deploy-0001")
    find(stack, "proxy", "proxy ready")
    # And nothing that any of them said is secret.
    token = stack.client.headers["Authorization"].removeprefix("Bearer ")
    kept = json.loads((stack.data_dir / "secrets.json").read_text())
    written = "".join((stack.data_dir / "log" / f"{name}.log").read_text() for name in OURS if lines_of(stack, name))
    assert "deploy-0001" in written
    assert [secret for secret in (SECRET, PASSWORD, token, *kept.values()) if secret in written] == []
