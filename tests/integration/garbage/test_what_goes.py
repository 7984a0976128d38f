"""Garbage: blobs that no deployment names are deleted, and nothing else is."""

from __future__ import annotations

import uuid

from autostack.deployments import garbage, jobs
from autostack.deployments.garbage import Freed
from autostack.extensions import store
from autostack.sites import keys
from autostack.sites.store import Store
from tests.builders import open_agent, publish
from tests.garbage import OLD, PAGE, SHARED, blobs, delete, deploy, hashes, wait_until_old


def test_what_only_a_deleted_deployment_named_goes_and_it_is_said_how_much(shop, api, project, project_id):
    first = deploy(shop, api, project, {"/index.html": PAGE, "/old.js": OLD, "/shared.js": SHARED})
    deploy(shop, api, project, {"/index.html": PAGE + b"!", "/shared.js": SHARED})
    with shop.app_context():
        wait_until_old(project_id)
        # Lists of builds that ended are of no use either.
        lists = garbage.look(project_id)
        assert (lists.objects, blobs(project_id)) == (2, hashes(PAGE, PAGE + b"!", OLD, SHARED))
    delete(shop, api, first)
    with shop.app_context():
        expected = garbage.look(project_id)
        assert expected.objects == 3
        assert blobs(project_id) == hashes(PAGE, PAGE + b"!", OLD, SHARED)
        assert garbage.collect_all(project_id) == expected
        assert expected.bytes > len(PAGE) + len(OLD)
        assert blobs(project_id) == hashes(PAGE + b"!", SHARED)
        assert garbage.collect_all(project_id) == Freed()


def test_a_deployment_that_is_still_shown_though_deleted_keeps_its_blobs(shop, api, project, project_id):
    first = deploy(shop, api, project, {"/index.html": OLD})
    deploy(shop, api, project, {"/index.html": PAGE})
    # The removal of its folder waits for the routes.
    assert api.delete(f"/api/deployments/{first}").status_code == 204
    with shop.app_context():
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        assert blobs(project_id) == hashes(OLD, PAGE)


def test_what_a_build_under_way_has_listed_stays_and_so_does_what_is_young(shop, api, project, project_id, monkeypatch):
    deploy(shop, api, project, {"/index.html": PAGE})
    agent = open_agent(shop, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    agent.fetch_order()
    agent.upload({"/index.html": OLD})
    with shop.app_context():
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        store().put(keys.blob(str(project_id), "a" * 64), b"sent just now, and not listed yet")
        old_later = shop.config["AUTOSTACK"].model_copy(update={"gc_min_age_s": 600})
        with monkeypatch.context() as patch:
            patch.setitem(shop.config, "AUTOSTACK", old_later)
            garbage.collect_all(project_id)
        assert blobs(project_id) == hashes(PAGE, OLD) | {"a" * 64}
    agent.finish("failed")
    with shop.app_context():
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        assert blobs(project_id) == hashes(PAGE)


def test_what_many_deployments_name_stays(shop, api, project, project_id, monkeypatch):
    monkeypatch.setattr(garbage, "READ_AT_ONCE", 2)
    pages = [b"page %d" % number for number in range(5)]
    for page in pages:
        deploy(shop, api, project, {"/index.html": page})
    with shop.app_context():
        store().put(keys.blob(str(project_id), "a" * 64), b"nobody's")
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        assert blobs(project_id) == hashes(*pages)


def test_unfinished_uploads_of_sites_and_of_caches_are_ended(shop, project, project_id, monkeypatch):
    ended = []
    monkeypatch.setattr(Store, "end_unfinished", lambda self, prefix, before: ended.append(prefix))
    with shop.app_context():
        garbage.collect_all(project_id)
    of_project = keys.project(str(project_id))
    assert ended == [of_project]
    assert all(f.startswith(f"{of_project}/") for f in (keys.blobs(str(project_id)), keys.caches(str(project_id))))


def test_a_manifest_that_cannot_be_read_keeps_everything(shop, api, project, project_id):
    id = deploy(shop, api, project, {"/index.html": PAGE})
    with shop.app_context():
        store().put(keys.blob(str(project_id), "a" * 64), b"nobody's")
        store().put(keys.manifest(str(project_id), id), b'{"files": ["half')
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        assert blobs(project_id) == hashes(PAGE) | {"a" * 64}


def test_a_folder_that_was_written_after_its_deployment_was_removed_goes_too(shop, api, project, project_id):
    kept = deploy(shop, api, project, {"/index.html": PAGE})
    with shop.app_context():
        store().put(keys.listing(str(project_id), str(uuid.uuid4()), str(uuid.uuid4())), b'{"files": {}}')
        store().put(keys.manifest(str(project_id), str(uuid.uuid4())), b'{"files": {}}')
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        jobs.remove_planned()
        folder = f"{keys.project(str(project_id))}/deployments"
        assert list(store().names(folder)) == [keys.manifest(str(project_id), kept)]


def test_a_folder_that_is_no_deployments_stays_and_stops_nothing(shop, api, project, project_id):
    deploy(shop, api, project, {"/index.html": PAGE})
    with shop.app_context():
        stray = f"{keys.project(str(project_id))}/deployments/lost+found/what"
        store().put(stray, b"?")
        store().put(keys.blob(str(project_id), "a" * 64), b"nobody's")
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        jobs.remove_planned()
        assert blobs(project_id) == hashes(PAGE)
        assert store().get(stray) == b"?"


def test_a_pack_stays_as_long_as_a_deployment_needs_a_part_of_it(shop, api, project, project_id):
    pack = b"variants of several pages"
    packed = {"size": 3, "pack": hashes(pack).pop()}
    ids = []
    for start in (0, 1):
        ids.append(api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
        agent = open_agent(shop, ids[-1])
        agent.fetch_order()
        page = {"path": "/index.html", "size": len(PAGE), "sha256": hashes(PAGE).pop()}
        page["encodings"] = {"br": {**packed, "start": start, "sha256": hashes(pack[start : start + 3]).pop()}}
        uploads = agent.call("POST", "/files", json={"files": [page]}).json["uploads"]
        for wanted in uploads:
            data = pack if wanted["sha256"] == packed["pack"] else PAGE
            assert agent.call("PUT", f"/blobs/{wanted['sha256']}", data=data).status_code == 204
        assert len(uploads) == (0 if start else 2)
        agent.finish()
        publish(shop, ids[-1])
    delete(shop, api, ids[0])
    with shop.app_context():
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        assert blobs(project_id) == hashes(PAGE, pack)
    deploy(shop, api, project, {"/index.html": OLD})
    delete(shop, api, ids[1])
    with shop.app_context():
        wait_until_old(project_id)
        garbage.collect_all(project_id)
        assert blobs(project_id) == hashes(OLD)
