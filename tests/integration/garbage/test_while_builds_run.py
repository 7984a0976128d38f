"""Builds and publishers beside a collection: none counts on what is being deleted, and none waits for long."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from redis import Redis
from sqlalchemy import text

from autostack.builds import artifacts
from autostack.builds.caches import Scope
from autostack.builds.schemas import FileIn
from autostack.deployments import garbage, jobs, leases, publishing
from autostack.errors import Unavailable
from autostack.extensions import db, redis, store
from autostack.sites import keys
from autostack.sites.errors import StoreUnavailable
from autostack.sites.rules.model import Rules
from autostack.sites.store import FEW_NAMES, Store
from tests.builders import build, open_agent, publish
from tests.garbage import OLD, PAGE, blobs, deploy, hashes, let_leases_end, wait_until_old


def test_a_build_is_not_told_what_is_there_while_it_is_being_deleted(shop, api, project, project_id):
    agent = open_agent(shop, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    agent.fetch_order()
    files = [{"path": "/index.html", "size": len(PAGE), "sha256": hashes(PAGE).pop()}]
    with shop.app_context():
        with leases.lease(project_id):
            assert agent.call("POST", "/files", json={"files": files}).status_code == 503
            with pytest.raises(Unavailable), leases.lease(project_id):
                pass
        assert agent.call("POST", "/files", json={"files": files}).status_code == 200


def test_a_build_looks_again_if_blobs_were_deleted_while_it_looked(shop, api, project, project_id, monkeypatch):
    deploy(shop, api, project, {"/index.html": PAGE})
    second = open_agent(shop, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    id = uuid.UUID(second.fetch_order()["deploymentId"])
    file = FileIn(path="/old.js", size=len(OLD), sha256=hashes(OLD).pop())
    with shop.app_context():
        key = keys.blob(str(project_id), file.sha256)
        store().put(key, OLD)
        seen = []
        ask = artifacts.missing

        def asked_just_before_a_collection(*arguments):
            seen.append(ask(*arguments))
            if len(seen) == 1:
                with leases.lease(project_id):
                    store().delete(key)
            return seen[-1]

        monkeypatch.setattr(artifacts, "missing", asked_just_before_a_collection)
        scope = Scope(project_id, "main", "main")
        wanted = artifacts.propose(scope, id, second.attempt_id, [file], Rules())
        assert seen == [set(), {file.sha256}]
        assert [blob.sha256 for blob in wanted] == [file.sha256]


def test_a_collection_pauses_for_a_build_that_looked_in_vain(shop, api, project, project_id, monkeypatch):
    """One page of garbage after the other, each deleted in a lease of its own: a build would starve."""
    monkeypatch.setattr(leases, "WAIT_FOR_LOOK_S", 60)
    deploy(shop, api, project, {"/index.html": PAGE})
    agent = open_agent(shop, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    agent.fetch_order()
    file = {"path": "/old.js", "size": len(OLD), "sha256": hashes(OLD).pop()}
    with shop.app_context():
        store().put(keys.blob(str(project_id), file["sha256"]), OLD)
        wait_until_old(project_id)
        with leases.lease(project_id):
            assert agent.call("POST", "/files", json={"files": [file]}).status_code == 503
        deleted = threading.Event()

        def collect():
            with shop.app_context():
                garbage.collect(project_id)
            deleted.set()

        waits = waits_of_collections(monkeypatch)
        thread = threading.Thread(target=collect)
        thread.start()
        assert waits.wait(60)
        # What it counts on is there, and stays.
        assert agent.call("POST", "/files", json={"files": [file]}).json["uploads"] == []
        thread.join()
        assert deleted.is_set()
        assert blobs(project_id) == hashes(PAGE, OLD)


def waits_of_collections(monkeypatch):
    """Return what is set once a collection waits."""
    waits = threading.Event()
    exists = Redis.exists

    def asked(self, *names):
        if found := exists(self, *names):
            waits.set()
        return found

    monkeypatch.setattr(Redis, "exists", asked)
    return waits


def test_a_collection_waits_no_longer_than_that_for_builds(shop, api, project, project_id, monkeypatch):
    monkeypatch.setattr(leases, "WAIT_FOR_LOOK_S", 1)
    with shop.app_context():
        with leases.lease(project_id), pytest.raises(Unavailable):
            leases.undisturbed(project_id, lambda: None)
        redis().persist(leases._mark(project_id))
        store().put(keys.blob(str(project_id), "a" * 64), b"nobody's")
        wait_until_old(project_id)
        garbage.collect(project_id)
        assert blobs(project_id) == set()


def test_no_build_counts_on_blobs_that_the_store_may_still_delete(shop, api, project, project_id, monkeypatch):
    deploy(shop, api, project, {"/index.html": PAGE})
    late = []

    def told_and_not_answered(self, names):
        late.extend(names)
        raise StoreUnavailable("it did not answer in time")

    file = {"path": "/index.html", "size": len(OLD), "sha256": hashes(OLD).pop()}
    with shop.app_context():
        key = keys.blob(str(project_id), file["sha256"])
        store().put(key, OLD)
        wait_until_old(project_id)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "delete", told_and_not_answered)
            with pytest.raises(StoreUnavailable):
                garbage.collect(project_id)
        db.session.rollback()
        agent = open_agent(shop, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
        agent.fetch_order()
        assert agent.call("POST", "/files", json={"files": [file]}).status_code == 503
        assert late == [key]
        store().delete(late)
        let_leases_end()
    assert agent.upload({"/index.html": OLD}) == [file["sha256"]]
    agent.finish()
    with shop.app_context():
        jobs.publish(agent.order["deploymentId"])
        assert blobs(project_id) == hashes(PAGE, OLD)
    assert api.get(f"/api/deployments/{agent.order['deploymentId']}").json["status"] == "success"


def test_nothing_is_published_while_its_blobs_may_be_deleted(shop, api, project, project_id, monkeypatch):
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(shop, id, {"/index.html": PAGE})
    monkeypatch.setattr(publishing, "PATIENCE_S", 0)
    with shop.app_context():
        with leases.lease(project_id), pytest.raises(Unavailable):
            jobs.publish(id)
        assert api.get(f"/api/deployments/{id}").json["status"] == "deploying"


def test_a_publisher_waits_while_blobs_are_deleted(shop, api, project, project_id, monkeypatch):
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(shop, id, {"/index.html": PAGE})
    monkeypatch.setattr(publishing, "PATIENCE_S", 60)
    with shop.app_context():
        with leases.lease(project_id):
            thread = threading.Thread(target=publish, args=(shop, id))
            thread.start()
            while not redis().exists(leases._mark(project_id)):
                time.sleep(0.01)
        thread.join()
    assert api.get(f"/api/deployments/{id}").json["status"] == "success"


def test_each_blob_is_looked_at_again_if_some_were_deleted_during_the_build(shop, api, project, project_id):
    site = {f"/{number}.html": b"page %d" % number for number in range(FEW_NAMES + 5)}
    deploy(shop, api, project, site)
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(shop, id, site)
    with shop.app_context():
        with leases.lease(project_id):
            store().delete(keys.blob(str(project_id), hashes(site["/1.html"]).pop()))
        jobs.publish(id)
    shown = api.get(f"/api/deployments/{id}").json
    assert (shown["status"], shown["reason"]) == ("failed", "1 of the site's files were not uploaded")


def test_of_what_the_branch_showed_before_the_store_is_asked_nothing(shop, api, project, project_id):
    """Of a folder it is: a look at each file costs next to nothing there."""
    site = {f"/{number}.html": b"page %d" % number for number in range(FEW_NAMES + 5)}
    deploy(shop, api, project, site)
    second = open_agent(shop, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    second.fetch_order()
    changed = {**site, "/0.html": b"changed"}
    key = keys.blob(str(project_id), hashes(site["/1.html"]).pop())
    with shop.app_context():
        store().delete(key)
        is_folder = store().is_folder
    assert set(second.upload(changed)) == hashes(b"changed", *([site["/1.html"]] if is_folder else []))
    second.finish()
    with shop.app_context():
        store().put(key, site["/1.html"])
        jobs.publish(second.order["deploymentId"])
    assert api.get(f"/api/deployments/{second.order['deploymentId']}").json["status"] == "success"


def test_a_lease_that_nobody_gave_back_ends_by_itself(shop, api, project, project_id):
    with shop.app_context():
        with leases.lease(project_id):
            pass
        db.session.execute(text("UPDATE collections SET leased_until = now() + interval '1 minute'"))
        db.session.commit()
        with pytest.raises(Unavailable):
            leases.undisturbed(project_id, lambda: None)
        let_leases_end()
        leases.undisturbed(project_id, lambda: None)
        with leases.lease(project_id):
            pass
