"""What becomes of a build when it has ended."""

from __future__ import annotations

import hashlib
import threading

import pytest
from sqlalchemy import update

from autostack.deployments.models import Deployment
from autostack.extensions import db, store
from autostack.proxy.resolve import Nothing, Visit, resolve
from autostack.sites import keys
from autostack.sites.manifest import Manifest
from autostack.sites.routes import read_route
from tests.builders import build, open_agent, publish
from tests.integration.agent_api.conftest import SITE
from tests.stack import FINAL


def test_publishing_writes_the_manifest_and_switches_every_host(app, api, project, deployment):
    build(app, deployment["id"], SITE)
    publish(app, deployment["id"])
    with app.app_context():
        manifest = Manifest.from_json(store().get(keys.manifest(project["id"], deployment["id"])))
        assert set(manifest.files) == set(SITE)
        labels = ["site", "site-git-main", f"site-{deployment['id'][:8]}"]
        routes = [read_route(store(), label) for label in labels]
    assert [route.deployment_id for route in routes] == [deployment["id"]] * 3


@pytest.mark.parametrize(
    ("fallback", "status", "page"),
    [("auto", 404, "/404.html"), ("spa", 200, "/index.html"), ("none", 404, "/404.html")],
)
def test_a_page_that_is_not_there_gets_what_the_project_says(app, api, project, fallback, status, page):
    assert api.patch(f"/api/projects/{project['id']}", {"fallback": fallback}).json["fallback"] == fallback
    deployment = deployed(app, api, project, {**SITE, "/404.html": b"nothing"})
    decision = missing_page_of(app, project, deployment)
    assert (decision.role.status, decision.path) == (status, page)


def test_a_site_without_a_404_page_answers_with_index_html_unless_the_project_says_otherwise(app, api, project):
    assert missing_page_of(app, project, deployed(app, api, project, SITE)).path == "/index.html"
    api.patch(f"/api/projects/{project['id']}", {"fallback": "none"})
    assert missing_page_of(app, project, deployed(app, api, project, SITE)) == Nothing()


def test_a_deployment_keeps_the_fallback_that_it_was_asked_for_with(app, api, project):
    change = f"/api/projects/{project['id']}"
    api.patch(change, {"fallback": "spa"})
    older = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    api.patch(change, {"fallback": "none"})
    build(app, older, SITE)
    publish(app, older)
    deployed(app, api, project, SITE)
    assert api.post(f"/api/deployments/{older}/promote").status_code == 200
    with app.app_context():
        assert read_route(store(), "site").deployment_id == older
    assert manifest_of(app, project, older).fallback == "spa"


def test_a_deployment_that_was_asked_for_before_projects_had_a_fallback_is_automatic(app, api, project, deployment):
    with app.app_context():
        db.session.execute(update(Deployment).values(snapshot={"repository": project["repository"]}))
        db.session.commit()
    build(app, deployment["id"], SITE)
    publish(app, deployment["id"])
    assert manifest_of(app, project, deployment["id"]).fallback == "auto"


def deployed(app, api, project, files):
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, id, files)
    publish(app, id)
    return id


def manifest_of(app, project, deployment):
    with app.app_context():
        return Manifest.from_json(store().get(keys.manifest(project["id"], deployment)))


def missing_page_of(app, project, deployment):
    return resolve(manifest_of(app, project, deployment), Visit("/no/such/page"), takes_html=True)


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
