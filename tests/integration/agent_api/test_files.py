"""What agents send of a site, and what is wanted or refused of it."""

from __future__ import annotations

import hashlib
import uuid

import pytest
from sqlalchemy import update

from autostack.builds import artifacts
from autostack.builds.schemas import FilesIn
from autostack.deployments.models import Deployment
from autostack.extensions import db, store
from autostack.projects.front_page import LiveSite
from autostack.sites import keys
from autostack.sites.manifest import Manifest
from autostack.sites.store import SIGNED_BYTES
from tests.builders import Agent, build, open_agent, publish
from tests.integration.agent_api.conftest import SITE, code
from tests.s3 import s3_settings


def test_a_blob_is_what_its_name_says_or_is_refused(app, agent):
    wrong = hashlib.sha256(b"right").hexdigest()
    assert code(agent.call("PUT", f"/blobs/{wrong}", data=b"wrong")) == (422, "BLOB_MISMATCH")
    with app.app_context():
        assert store().size(keys.blob(agent.order["projectId"], wrong)) is None
    assert agent.call("PUT", "/blobs/..%2f..%2fetc", data=b"x").status_code in {404, 422}


def test_a_blob_may_be_larger_than_requests_are_in_general(app, agent):
    data = bytes(3_000_000)
    assert agent.upload({"/large.bin": data}) == [hashlib.sha256(data).hexdigest()]


def test_a_files_name_may_end_in_a_space():
    listed = {"path": "/ page ", "size": 2, "sha256": "a" * 64}
    assert [file.path for file in FilesIn.model_validate({"files": [listed]}).files] == ["/ page "]


def test_all_that_a_build_sends_has_a_limit(app, agent, monkeypatch):
    monkeypatch.setattr(artifacts, "MAX_SENT", 0)
    refused = agent.call("PUT", f"/blobs/{hashlib.sha256(b'hi').hexdigest()}", data=b"hi")
    assert code(refused) == (422, "VALIDATION_ERROR")
    assert "MAX_BUILD_SIZE" in refused.json["error"]["message"]
    with app.app_context():
        assert list(store().names(keys.blobs(agent.order["projectId"]))) == []


def test_what_a_build_is_given_addresses_for_counts_as_sent(make_app, s3, api, deployment):
    on_s3 = s3_settings(s3, prefix=f"agents/{uuid.uuid4()}")
    names = ("storage_url", "s3_endpoint_url", "s3_region", "aws_access_key_id", "aws_secret_access_key")
    app = make_app(max_build_size_mb=1, **{name: getattr(on_s3, name) for name in names})
    agent = open_agent(app, deployment["id"])
    agent.fetch_order()
    blobs = [{"sha256": f"{number:064x}", "size": 1_000_000} for number in range(artifacts.MAX_SENT)]
    assert len(agent.call("POST", "/blobs", json={"blobs": blobs}).json["uploads"]) == artifacts.MAX_SENT
    assert code(agent.call("POST", "/blobs", json={"blobs": blobs[:1]})) == (422, "VALIDATION_ERROR")


def test_only_blobs_that_the_store_lacks_are_wanted(app, api, project, deployment):
    build(app, deployment["id"], SITE)
    second = open_agent(app, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    second.fetch_order()
    assert second.upload({**SITE, "/index.html": b"changed"}) == [hashlib.sha256(b"changed").hexdigest()]


def test_a_build_learns_what_its_branch_showed_before_or_else_production(app, api, project, deployment):
    build(app, deployment["id"], SITE)
    assert code(previous_of(app, api, project).call("GET", "/previous")) == (404, "NOT_FOUND")
    publish(app, deployment["id"])
    for branch in ("main", "feature"):
        shown = previous_of(app, api, project, branch).call("GET", "/previous")
        assert shown.status_code == 200
        assert shown.json["files"]["/app.js"]["sha256"] == hashlib.sha256(SITE["/app.js"]).hexdigest()


def test_a_build_never_learns_from_another_branch_than_its_own_and_productions(app, api, project, deployment):
    on_branch(app, deployment["id"], "feature")
    build(app, deployment["id"], {"/index.html": b"the feature's"})
    publish(app, deployment["id"])
    for branch in ("main", "another"):
        assert code(previous_of(app, api, project, branch).call("GET", "/previous")) == (404, "NOT_FOUND")
    own = previous_of(app, api, project, "feature").call("GET", "/previous")
    assert set(own.json["files"]) == {"/index.html"}
    assert code(Agent(app, uuid.uuid4(), "wrong").call("GET", "/previous")) == (401, "UNAUTHORIZED")


def previous_of(app, api, project, branch="main"):
    """Return the agent of another build of a branch."""
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    on_branch(app, id, branch)
    agent = open_agent(app, id)
    agent.fetch_order()
    return agent


def on_branch(app, id, branch):
    with app.app_context():
        db.session.execute(update(Deployment).where(Deployment.id == uuid.UUID(id)).values(branch=branch))
        db.session.commit()


def test_blobs_are_taken_before_all_files_are_known(app, agent):
    data = {hashlib.sha256(content).hexdigest(): content for content in SITE.values()}
    blobs = [{"sha256": sha256, "size": len(content)} for sha256, content in data.items()]
    invited = agent.call("POST", "/blobs", json={"blobs": blobs}).json["uploads"]
    assert {upload["sha256"] for upload in invited} == set(data)
    for sha256, content in data.items():
        assert agent.call("PUT", f"/blobs/{sha256}", data=content).status_code == 204
    assert agent.upload(SITE) == []


def test_what_s3_would_not_take_at_once_is_sent_to_web_which_sends_it_in_parts(make_app, s3, api, deployment):
    s3_store = s3_settings(s3, prefix=f"large/{uuid.uuid4()}")
    names = ("storage_url", "s3_endpoint_url", "s3_region", "aws_access_key_id", "aws_secret_access_key")
    app = make_app(max_file_size_mb=100, **{name: getattr(s3_store, name) for name in names})
    agent = open_agent(app, deployment["id"])
    project_id = agent.fetch_order()["projectId"]
    small, large = b"small", bytes(SIGNED_BYTES + 1)
    data = {hashlib.sha256(content).hexdigest(): content for content in (small, large)}
    blobs = [{"sha256": sha256, "size": len(content)} for sha256, content in data.items()]
    invited = agent.call("POST", "/blobs", json={"blobs": blobs}).json["uploads"]
    assert ["X-Amz-Signature" in upload["url"] for upload in invited] == [True, False]
    sha256 = invited[1]["sha256"]
    assert code(agent.call("PUT", f"/blobs/{sha256}", data=bytes(SIGNED_BYTES) + b"x")) == (422, "BLOB_MISMATCH")
    with app.app_context():
        assert store().size(keys.blob(project_id, sha256)) is None
    assert agent.call("PUT", f"/blobs/{sha256}", data=large).status_code == 204
    with app.app_context():
        assert store().size(keys.blob(project_id, sha256)) == len(large)


def test_blobs_are_invited_within_limits(agent):
    blob = {"sha256": "0" * 64, "size": 26_000_000}
    assert code(agent.call("POST", "/blobs", json={"blobs": [blob]})) == (422, "VALIDATION_ERROR")
    many = [{"sha256": f"{number:064x}", "size": 1} for number in range(1_001)]
    assert agent.call("POST", "/blobs", json={"blobs": many}).status_code == 422
    assert agent.call("POST", "/blobs", json={"blobs": [{"sha256": "../x", "size": 1}]}).status_code == 422


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


def test_how_many_files_an_output_may_have_is_a_setting(make_app, deployment):
    agent = open_agent(make_app(max_build_files=2), deployment["id"])
    agent.fetch_order()
    files = [{"path": f"/{number}.txt", "size": 1, "sha256": f"{number:064x}"} for number in range(3)]
    message = agent.call("POST", "/files", json={"files": files}).json["error"]["message"]
    assert "3 files; the limit is 2 (MAX_BUILD_FILES)" in message
    assert agent.call("POST", "/files", json={"files": files[:2]}).status_code == 200


def test_rules_are_compiled_and_what_is_wrong_in_them_is_answered(app, agent):
    rules = {"_redirects": "/a /b\nbad\n/c /d 302 Country=de", "_headers": "/*\n  X-A: b"}
    answer = agent.call("POST", "/files", json={"files": [], "rules": rules})
    assert [note.partition(": ")[0] for note in answer.json["notes"]] == ["_redirects:2", "_redirects:3"]
    listing = keys.listing(agent.order["projectId"], agent.order["deploymentId"], agent.order["attemptId"])
    with app.app_context():
        kept = Manifest.from_json(store().get(listing)).rules
    assert [rule.source for rule in kept.redirects] == ["_redirects:1", "_redirects:3"]
    assert [block.source for block in kept.headers] == ["_headers:1"]


@pytest.mark.parametrize("text", ["x" * 4_000_001, 7])
def test_rules_that_are_too_long_or_no_text_are_refused(agent, text):
    answer = agent.call("POST", "/files", json={"files": [], "rules": {"_redirects": text}})
    assert code(answer) == (422, "VALIDATION_ERROR")


def test_files_in_a_pack_are_published_with_it_and_read_from_it(app, api, deployment, agent):
    page, text = b"<title>Shop</title>", b"text"
    pack = hashlib.sha256(page + text).hexdigest()
    listed = [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pack": pack, "start": start}
        for path, data, start in (("/index.html", page, 0), ("/a.txt", text, len(page)))
    ]
    uploads = agent.call("POST", "/files", json={"files": listed}).json["uploads"]
    assert [upload["sha256"] for upload in uploads] == [pack]
    assert agent.call("PUT", f"/blobs/{pack}", data=page + text).status_code == 204
    assert agent.finish().status_code == 204
    publish(app, deployment["id"])
    assert api.get(f"/api/deployments/{deployment['id']}").json["status"] == "success"
    with app.app_context():
        live = LiveSite(agent.order["projectId"], deployment["id"])
        assert (live.read("/index.html", 100), live.read("/a.txt", 100)) == (page, text)


@pytest.mark.parametrize("place", [{"pack": "a" * 64}, {"start": 0}, {"pack": "a" * 64, "start": -1}])
def test_half_a_place_in_a_pack_is_refused(agent, place):
    file = {"path": "/index.html", "size": 2, "sha256": "b" * 64, **place}
    assert code(agent.call("POST", "/files", json={"files": [file]})) == (422, "VALIDATION_ERROR")


def test_a_pack_that_the_store_lacks_is_wanted_and_without_it_nothing_is_published(app, api, deployment, agent):
    page, pack = b"hi", b"several variants"
    packed = {"sha256": "a" * 64, "size": 4, "pack": hashlib.sha256(pack).hexdigest(), "start": 3}
    file = {"path": "/index.html", "size": 2, "sha256": hashlib.sha256(page).hexdigest(), "encodings": {"br": packed}}
    uploads = agent.call("POST", "/files", json={"files": [file]}).json["uploads"]
    assert {upload["sha256"] for upload in uploads} == {file["sha256"], packed["pack"]}
    for content in (page, pack):
        assert agent.call("PUT", f"/blobs/{hashlib.sha256(content).hexdigest()}", data=content).status_code == 204
    assert agent.call("POST", "/files", json={"files": [file]}).json["uploads"] == []
    with app.app_context():
        store().delete(keys.blob(agent.order["projectId"], packed["pack"]))
    agent.finish()
    publish(app, deployment["id"])
    assert api.get(f"/api/deployments/{deployment['id']}").json["reason"] == "1 of the site's files were not uploaded"
