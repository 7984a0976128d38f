"""Who may build a deployment, until when, and what is heard of it."""

from __future__ import annotations

import uuid

import pytest

from autostack.agent.api import NONCE_HEADER
from autostack.builds import service
from autostack.builds.own_services import own_services
from tests.builders import Agent, open_agent, publish
from tests.integration.agent_api.conftest import SITE, code


def test_fetching_the_order_begins_the_build(app, api, site, deployment):
    agent = open_agent(app, deployment["id"])
    assert api.get(f"/api/deployments/{deployment['id']}").json["status"] == "queued"
    order = agent.fetch_order()
    assert order["repository"]["url"] == site
    assert order["repository"]["branch"] == "main"
    assert order["env"] == {}
    assert order["limits"]["maxFiles"] == 20_000
    assert order["egressPorts"] == [22, 80, 443]
    assert order["egressRefused"] == own_services(app.config["AUTOSTACK"])
    assert order["limits"]["maxMirrorsBytes"] == 4_000_000_000
    assert api.get(f"/api/deployments/{deployment['id']}").json["status"] == "building"


@pytest.mark.parametrize(
    ("setting", "limit", "expected"),
    [
        ({"max_build_files": 300}, "maxFiles", 300),
        ({"max_build_memory_mb": 700}, "maxMemoryBytes", 700_000_000),
        ({"max_build_processes": 40}, "maxProcesses", 40),
        ({"max_build_disk_mb": 900}, "maxDiskBytes", 900_000_000),
        ({"max_cache_size_mb": 20}, "maxCacheBytes", 20_000_000),
        ({"max_mirrors_size_mb": 80}, "maxMirrorsBytes", 80_000_000),
    ],
)
def test_the_order_has_the_limits_that_are_set(make_app, deployment, setting, limit, expected):
    agent = open_agent(make_app(**setting), deployment["id"])
    assert agent.fetch_order()["limits"][limit] == expected


def test_an_agent_can_ask_for_its_order_again_until_the_working_token_was_used(app, deployment):
    agent = open_agent(app, deployment["id"])
    bootstrap = agent.token
    agent.fetch_order()
    again = Agent(app, agent.attempt_id, bootstrap, nonce=agent.nonce)
    again.fetch_order()
    assert again.say("hello").status_code == 200
    assert code(Agent(app, agent.attempt_id, bootstrap, nonce=agent.nonce).ask_for_order()) == (409, "ATTEMPT_ENDED")
    assert again.say("still here").status_code == 200


@pytest.mark.parametrize("nonce", [None, "n" * 43])
@pytest.mark.parametrize("has_spoken", [False, True])
def test_who_takes_an_order_that_another_has_gets_nothing_and_ends_the_attempt(app, api, deployment, nonce, has_spoken):
    agent = open_agent(app, deployment["id"])
    thief = Agent(app, agent.attempt_id, agent.token)
    agent.fetch_order()
    if has_spoken:
        agent.say("hello")
    headers = {NONCE_HEADER: nonce} if nonce else {}
    assert code(thief.call("GET", headers=headers)) == (409, "ATTEMPT_ENDED")
    assert code(agent.say("hello")) == (409, "ATTEMPT_ENDED")
    retried = api.get(f"/api/deployments/{deployment['id']}").json
    assert retried["status"] == "queued"
    assert f"{service.TAKEN_TWICE}. Building again…" in retried["logs"][-1]


def test_an_agent_without_a_nonce_gets_its_order_once(app, deployment):
    agent = open_agent(app, deployment["id"])
    assert agent.call("GET").status_code == 200
    assert code(agent.call("GET")) == (409, "ATTEMPT_ENDED")


def test_a_nonce_that_is_none_is_refused_and_spends_nothing(app, deployment):
    agent = open_agent(app, deployment["id"])
    for nonce in ("short", "n" * 201, "n" * 40 + "!"):
        assert agent.call("GET", headers={NONCE_HEADER: nonce}).status_code == 422
    agent.fetch_order()


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_token_learns_nothing(app, agent, token):
    stranger = Agent(app, agent.attempt_id, token)
    assert stranger.call("GET").status_code == 401
    assert stranger.say("hello").status_code == 401
    assert stranger.call("GET", "/cache/downloads-npm").status_code == 401


def test_one_deployment_has_one_attempt_at_a_time(app, deployment):
    assert open_agent(app, deployment["id"]) is not None
    assert open_agent(app, deployment["id"]) is None


def test_an_attempt_that_was_lost_changes_nothing_any_more(app, api, deployment, agent):
    with app.app_context():
        service.lose(agent.attempt_id, "The build's worker stopped answering")
    assert code(agent.say("still here")) == (409, "ATTEMPT_ENDED")
    assert code(agent.finish()) == (409, "ATTEMPT_ENDED")
    second = open_agent(app, deployment["id"])
    second.fetch_order()
    assert code(agent.say("still here")) == (409, "ATTEMPT_ENDED")
    shown = api.get(f"/api/deployments/{deployment['id']}").json
    assert shown["status"] == "building"
    assert not any("still here" in line for line in shown["logs"])


def test_a_deployment_fails_when_its_last_attempt_is_lost(app, api, deployment):
    for _ in range(2):
        attempt = open_agent(app, deployment["id"])
        attempt.fetch_order()
        with app.app_context():
            service.lose(attempt.attempt_id, "The build's worker stopped answering")
    shown = api.get(f"/api/deployments/{deployment['id']}").json
    assert (shown["status"], shown["reason"]) == ("failed", "The build's worker stopped answering")


def test_a_batch_is_stored_once_and_in_order(api, deployment, agent):
    agent.say("one", batch=1)
    agent.say("one", batch=1)
    assert agent.say("three", batch=3).status_code == 409
    agent.say("two", batch=2)
    logs = api.get(f"/api/deployments/{deployment['id']}/logs").json["logs"]
    assert [line["message"] for line in logs] == ["[00:00] one", "[00:00] two"]


def test_what_was_cloned_is_shown(api, deployment, agent):
    source = {"commitHash": "a" * 40, "commitMessage": "Add it", "author": "Ada", "framework": "Vite"}
    assert agent.call("POST", "/source", json=source).status_code == 204
    shown = api.get(f"/api/deployments/{deployment['id']}").json
    assert (shown["commit"], shown["commitMessage"]) == ("aaaaaaa", "Add it")
    assert (shown["author"], shown["framework"]) == ("Ada", "Vite")


def test_a_build_that_failed_says_why(api, deployment, agent):
    agent.finish("failed", "`npm run build` ended with exit code 1")
    shown = api.get(f"/api/deployments/{deployment['id']}").json
    assert (shown["status"], shown["reason"]) == ("failed", "`npm run build` ended with exit code 1")
    assert [stage["status"] for stage in shown["stages"]] == ["completed", "failed", "pending", "failed"]


def test_an_end_that_is_told_again_is_told_once(app, api, deployment, agent):
    agent.upload(SITE)
    assert [agent.finish().status_code, agent.finish().status_code] == [204, 204]
    assert code(agent.finish("failed", "changed its mind")) == (409, "ATTEMPT_ENDED")
    publish(app, deployment["id"])
    assert agent.finish().status_code == 204
    assert api.get(f"/api/deployments/{deployment['id']}").json["status"] == "success"


def test_an_end_of_a_cancelled_build_is_not_taken(api, deployment, agent):
    api.post(f"/api/deployments/{deployment['id']}/cancel")
    assert code(agent.finish()) == (409, "ATTEMPT_ENDED")
    assert code(agent.finish("failed", "no")) == (409, "ATTEMPT_ENDED")


def test_the_agent_of_a_deleted_deployment_is_a_stranger(api, deployment, agent):
    api.delete(f"/api/deployments/{deployment['id']}")
    assert code(agent.say("hello")) == (401, "UNAUTHORIZED")
    assert code(agent.finish()) == (401, "UNAUTHORIZED")


def test_attempts_share_one_limit_of_the_log_counted_in_bytes(app, deployment, agent):
    assert agent.order["limits"]["maxLogBytes"] == 100_000_000
    agent.say("ü" * 9_999, "x" * 1_000)
    with app.app_context():
        service.lose(agent.attempt_id, "silent")
    retry = open_agent(app, deployment["id"])
    said = len("silent. Building again…".encode()) + 1
    assert retry.fetch_order()["limits"]["maxLogBytes"] == 100_000_000 - 19_999 - 1_001 - said


def test_an_agent_that_goes_on_beyond_the_limit_is_not_heard_but_lives(make_app, api, deployment):
    app = make_app(max_log_size_mb=1)
    agent = open_agent(app, deployment["id"])
    agent.fetch_order()
    for _ in range(3):
        assert agent.say(*["x" * 9_999] * 100).status_code == 200
    assert agent.call("POST", "/logs", json={"batch": 4, "lines": []}).status_code == 200
    logs = api.get(f"/api/deployments/{deployment['id']}/logs").json
    assert logs["nextAfter"] == 200


def test_an_attempt_of_nothing_is_refused(app):
    assert Agent(app, uuid.uuid4(), "token").call("GET").status_code == 401
