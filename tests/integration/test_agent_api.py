"""What build agents may do, and when they may not any more."""

from __future__ import annotations

import hashlib
import threading
import uuid

import pytest

from autostack.builds import service
from autostack.extensions import store
from autostack.sites import keys
from autostack.sites.manifest import Manifest
from autostack.sites.routes import read_route
from tests.builders import Agent, build, open_agent, publish
from tests.stack import FINAL

SITE = {"/index.html": b"<h1>hi</h1>", "/app.js": b"go()"}


@pytest.fixture
def deployment(api, project):
    return api.post("/api/deployments", {"projectId": project["id"]}).json


@pytest.fixture
def agent(app, deployment):
    """An agent that has its order."""
    opened = open_agent(app, deployment["id"])
    opened.fetch_order()
    return opened


def code(response):
    return response.status_code, (response.json or {}).get("error", {}).get("code")


def test_fetching_the_order_begins_the_build(app, api, site, deployment):
    agent = open_agent(app, deployment["id"])
    assert api.get(f"/api/deployments/{deployment['id']}").json["status"] == "queued"
    order = agent.fetch_order()
    assert order["repository"]["url"] == site
    assert order["repository"]["branch"] == "main"
    assert order["env"] == {}
    assert order["limits"]["maxFiles"] == 20_000
    assert api.get(f"/api/deployments/{deployment['id']}").json["status"] == "building"


def test_the_order_can_be_asked_for_again_until_the_working_token_was_used(app, deployment):
    agent = open_agent(app, deployment["id"])
    bootstrap = agent.token
    agent.fetch_order()
    again = Agent(app, agent.attempt_id, bootstrap)
    again.fetch_order()
    again.say("hello")
    assert code(Agent(app, agent.attempt_id, bootstrap).call("GET")) == (409, "ATTEMPT_ENDED")


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


def test_a_blob_is_what_its_name_says_or_is_refused(app, agent):
    wrong = hashlib.sha256(b"right").hexdigest()
    assert code(agent.call("PUT", f"/blobs/{wrong}", data=b"wrong")) == (422, "BLOB_MISMATCH")
    with app.app_context():
        assert store().size(keys.blob(agent.order["projectId"], wrong)) is None
    assert agent.call("PUT", "/blobs/..%2f..%2fetc", data=b"x").status_code in {404, 422}


def test_a_blob_may_be_larger_than_requests_are_in_general(app, agent):
    data = bytes(3_000_000)
    assert agent.upload({"/large.bin": data}) == [hashlib.sha256(data).hexdigest()]


def test_only_blobs_that_the_store_lacks_are_wanted(app, api, project, deployment):
    build(app, deployment["id"], SITE)
    second = open_agent(app, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    second.fetch_order()
    assert second.upload({**SITE, "/index.html": b"changed"}) == [hashlib.sha256(b"changed").hexdigest()]


@pytest.mark.parametrize("path", ["/../x", "x", "//x", "/a\0b"])
def test_a_path_that_leaves_the_site_is_refused(agent, path):
    file = {"path": path, "size": 1, "sha256": "0" * 64}
    assert agent.call("POST", "/files", json={"files": [file]}).status_code == 422


def test_limits_name_the_file_and_the_limit(agent):
    large = {"path": "/big.bin", "size": 26_000_000, "sha256": "0" * 64}
    message = agent.call("POST", "/files", json={"files": [large]}).json["error"]["message"]
    assert "/big.bin" in message
    assert "25 MB" in message
    assert "empty" in agent.call("POST", "/files", json={"files": []}).json["error"]["message"]


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


def test_publishing_writes_the_manifest_and_switches_every_host(app, api, project, deployment):
    build(app, deployment["id"], SITE)
    publish(app, deployment["id"])
    with app.app_context():
        manifest = Manifest.from_json(store().get(keys.manifest(project["id"], deployment["id"])))
        assert set(manifest.files) == set(SITE)
        labels = ["site", "site-git-main", f"site-{deployment['id'][:8]}"]
        routes = [read_route(store(), label) for label in labels]
    assert [route.deployment_id for route in routes] == [deployment["id"]] * 3


def test_a_site_whose_files_did_not_arrive_fails(app, api, deployment, agent):
    listed = [{"path": "/index.html", "size": 2, "sha256": hashlib.sha256(b"hi").hexdigest()}]
    agent.call("POST", "/files", json={"files": listed})
    agent.finish()
    publish(app, deployment["id"])
    shown = api.get(f"/api/deployments/{deployment['id']}").json
    assert (shown["status"], shown["reason"]) == ("failed", "1 of the site's files were not uploaded")


def test_publishing_twice_is_publishing_once(app, api, deployment):
    build(app, deployment["id"], SITE)
    publish(app, deployment["id"])
    before = api.get(f"/api/deployments/{deployment['id']}").json
    publish(app, deployment["id"])
    assert api.get(f"/api/deployments/{deployment['id']}").json == before


def test_an_older_build_that_ends_later_never_becomes_live(app, api, project):
    older = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    slow = open_agent(app, older)
    slow.fetch_order()
    newer = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, newer, SITE)
    publish(app, newer)
    slow.upload({"/index.html": b"old"})
    slow.finish()
    publish(app, older)
    assert api.get(f"/api/deployments/{older}").json["isLive"] is False
    assert api.get(f"/api/deployments/{older}").json["status"] == "success"
    assert api.get(f"/api/deployments/{newer}").json["isLive"] is True


def test_a_cancel_that_races_the_publisher_leaves_one_end(app, api, project):
    for _ in range(5):
        id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
        build(app, id, SITE)
        publisher = threading.Thread(target=publish, args=(app, id))
        publisher.start()
        cancelled = api.post(f"/api/deployments/{id}/cancel").status_code
        publisher.join()
        shown = api.get(f"/api/deployments/{id}").json
        assert shown["status"] in FINAL
        assert (shown["status"] == "cancelled") == (cancelled == 200)
        assert shown["isLive"] == (shown["status"] == "success")


class TestCaches:
    def test_a_cache_comes_back_as_it_was_saved(self, agent):
        assert agent.call("GET", "/cache/modules-abc").status_code == 404
        data = b"zst" * 1_000_000
        assert agent.call("PUT", "/cache/modules-abc", data=data).status_code == 204
        assert agent.call("GET", "/cache/modules-abc").data == data

    def test_it_is_not_sent_to_who_has_it(self, agent):
        saved = agent.call("PUT", "/cache/modules-abc", data=b"zst").headers["ETag"]
        again = agent.call("GET", "/cache/modules-abc", headers={"If-None-Match": f'"{"0" * 64}", {saved}'})
        assert (again.status_code, again.headers["ETag"], again.data) == (304, saved, b"")
        newer = agent.call("PUT", "/cache/modules-abc", data=b"zst").headers["ETag"]
        assert newer != saved
        assert agent.call("GET", "/cache/modules-abc", headers={"If-None-Match": saved}).data == b"zst"

    def test_the_same_archive_of_another_branch_has_another_tag(self, app, api, project):
        tags = set()
        for branch in ("main", "next"):
            opened = open_agent(app, api.post("/api/deployments", {"repository": "Site", "branch": branch}).json["id"])
            opened.fetch_order()
            tags.add(opened.call("PUT", "/cache/modules-abc", data=b"zst").headers["ETag"])
        assert len(tags) == 2

    def test_it_may_be_saved_after_the_end_of_a_good_build_only(self, app, agent):
        agent.upload(SITE)
        agent.finish()
        assert agent.call("PUT", "/cache/modules-abc", data=b"zst").status_code == 204
        assert agent.call("GET", "/cache/modules-abc").status_code == 409

    def test_not_after_a_failed_one(self, agent):
        agent.finish("failed", "no")
        assert agent.call("PUT", "/cache/modules-abc", data=b"zst").status_code == 409

    def test_a_branch_reads_productions_cache_and_production_never_a_branchs(self, app, api, project):
        def on(branch):
            body = {"repository": "Site", "branch": branch}
            opened = open_agent(app, api.post("/api/deployments", body).json["id"])
            opened.fetch_order()
            return opened

        on("next").call("PUT", "/cache/modules-abc", data=b"poison")
        main = on("main")
        assert main.call("GET", "/cache/modules-abc").status_code == 404
        main.call("PUT", "/cache/downloads-npm", data=b"good")
        assert main.call("GET", "/cache/downloads-npm").data == b"good"

    def test_a_key_cannot_leave_its_folder(self, agent):
        assert agent.call("PUT", "/cache/..", data=b"x").status_code in {404, 405, 422}
        assert agent.call("PUT", "/cache/A_b", data=b"x").status_code == 422


def test_an_attempt_of_nothing_is_refused(app):
    assert Agent(app, uuid.uuid4(), "token").call("GET").status_code == 401
