"""The deployments API: the spec's shapes, who may do what, and when."""

from __future__ import annotations

import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from autostack.deployments import logs
from autostack.extensions import db
from tests.builders import build, open_agent, publish
from tests.people import Api, Browser

SITE = {"/index.html": b"<h1>hi</h1>"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def deployment(api, project):
    """A queued deployment of Alice's project."""
    answered = api.post("/api/deployments", {"projectId": project["id"]})
    assert answered.status_code == 201, answered.text
    return answered.json


def deploy(app, api, project, files=None):
    """Deploy the project all the way, and return the deployment as the API shows it."""
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, id, files or SITE)
    publish(app, id)
    return api.get(f"/api/deployments/{id}").json


def test_a_new_deployment_is_queued_and_says_where_it_is(api, project):
    answered = api.post("/api/deployments", {"projectId": project["id"]})
    assert answered.status_code == 201
    assert answered.location.endswith(f"/api/deployments/{answered.json['id']}")
    assert answered.json == api.get(answered.location).json
    assert answered.json["status"] == "queued"
    assert answered.json["url"] is None
    assert answered.json["immutableUrl"].startswith("http://site-")
    assert [stage["name"] for stage in answered.json["stages"]] == ["Queued", "Building", "Deploying", "Success"]
    assert [stage["status"] for stage in answered.json["stages"]] == ["in_progress", "pending", "pending", "pending"]


def test_the_specs_request_makes_a_project_of_the_repository(api, site):
    body = {"repository": site, "branch": "next", "buildCommand": "", "envVars": "NODE_ENV=production\nA=b"}
    assert api.post("/api/deployments", body).status_code == 201
    (made,) = api.get("/api/projects").json["projects"]
    shown = api.get(f"/api/projects/{made['id']}").json
    assert (shown["branch"], shown["buildCommand"]) == ("next", "")
    assert [variable["key"] for variable in shown["envVars"]] == ["A", "NODE_ENV"]


def test_a_bare_name_is_the_callers_project(api, project):
    assert api.post("/api/deployments", {"repository": "Site"}).json["projectId"] == project["id"]
    assert api.post("/api/deployments", {"repository": "nobody-knows"}).status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "repository"),
        ({"repository": "ext::sh -c id"}, "repository"),
        ({"repository": "file:///etc"}, "repository"),
        ({"repository": "--upload-pack=/bin/sh"}, "repository"),
        ({"projectId": "7"}, "projectId"),
    ],
)
def test_what_cannot_be_deployed_is_a_422_that_names_the_field(api, body, field):
    answered = api.post("/api/deployments", body)
    assert answered.status_code == 422
    assert field in answered.json["error"]["details"]


@pytest.mark.parametrize("branch", ["gone", "; id", "`id`", "-x", "a..b"])
def test_a_branch_that_cannot_be_built_is_a_422(api, site, branch):
    answered = api.post("/api/deployments", {"repository": site, "branch": branch})
    assert answered.status_code == 422
    assert "branch" in answered.json["error"]["details"]


def test_a_finished_deployment_has_the_specs_shape(app, api, project):
    shown = deploy(app, api, project)
    assert shown["status"] == "success"
    assert shown["url"] == project["url"]
    assert shown["immutableUrl"] != shown["url"]
    assert [stage["status"] for stage in shown["stages"]] == ["completed"] * 4
    assert all(TIME.fullmatch(stage["timestamp"]) for stage in shown["stages"])
    assert shown["logs"][0].startswith("[00:00] ")
    assert shown["duration"].endswith("s")
    assert shown["isLive"] is True


def test_the_list_filters_and_counts(app, api, project):
    deploy(app, api, project)
    queued = api.post("/api/deployments", {"projectId": project["id"]}).json
    everything = api.get("/api/deployments").json
    assert [one["status"] for one in everything["deployments"]] == ["queued", "success"]
    assert everything["pagination"] == {"currentPage": 1, "totalPages": 1, "totalItems": 2}
    assert [one["id"] for one in api.get("/api/deployments?status=building").json["deployments"]] == [queued["id"]]
    assert api.get("/api/deployments?search=nothing").json["deployments"] == []
    assert len(api.get("/api/deployments?search=sit&limit=1").json["deployments"]) == 1
    assert api.get("/api/deployments?page=2&limit=1").json["pagination"]["currentPage"] == 2


@pytest.mark.parametrize("query", ["status=odd", "page=0", "limit=0", "limit=101", "page=x"])
def test_a_query_that_makes_no_sense_is_a_422(api, query):
    assert api.get(f"/api/deployments?{query}").status_code == 422


def test_recent_are_the_five_newest(api, project):
    made = [api.post("/api/deployments", {"projectId": project["id"]}).json["id"] for _ in range(6)]
    recent = api.get("/api/deployments/recent").json["recentDeployments"]
    assert [one["id"] for one in recent] == made[:0:-1]


def test_a_newer_deployment_takes_the_place_of_one_that_waits(api, project, deployment):
    api.post("/api/deployments", {"projectId": project["id"]})
    older = api.get(f"/api/deployments/{deployment['id']}").json
    assert older["status"] == "cancelled"
    assert older["reason"] == "A newer deployment took its place"
    assert older["logs"] == ["[00:00] A newer deployment took its place"]


def test_a_waiting_deployment_is_cancelled_and_then_no_more(api, deployment):
    cancelled = api.post(f"/api/deployments/{deployment['id']}/cancel")
    assert (cancelled.status_code, cancelled.json["status"]) == (200, "cancelled")
    assert cancelled.json["stages"][-1]["name"] == "Cancelled"
    again = api.post(f"/api/deployments/{deployment['id']}/cancel")
    assert (again.status_code, again.json["error"]["code"]) == (409, "DEPLOYMENT_ENDED")


def test_cancelling_a_build_stops_its_agent(app, api, deployment):
    agent = open_agent(app, deployment["id"])
    agent.fetch_order()
    api.post(f"/api/deployments/{deployment['id']}/cancel")
    assert agent.say("more").json["error"]["code"] == "ATTEMPT_ENDED"


def test_redeploying_builds_the_same_commit(app, api, project):
    first = deploy(app, api, project)
    agent_of = api.post(f"/api/deployments/{first['id']}/redeploy")
    assert agent_of.status_code == 201
    assert agent_of.json["commitHash"] == first["commitHash"]
    assert agent_of.json["trigger"] == "redeploy"


def test_redeploying_an_old_commit_leaves_the_newer_one_that_waits(app, api, project):
    first = deploy(app, api, project)
    waiting = api.post("/api/deployments", {"projectId": project["id"]}).json
    assert api.post(f"/api/deployments/{first['id']}/redeploy").status_code == 201
    assert api.get(f"/api/deployments/{waiting['id']}").json["status"] == "queued"


def test_only_a_deployment_that_succeeded_is_promoted(api, deployment):
    answered = api.post(f"/api/deployments/{deployment['id']}/promote")
    assert (answered.status_code, answered.json["error"]["code"]) == (409, "DEPLOYMENT_NOT_READY")


def test_rolling_back_switches_production_and_holds_new_deployments_off_until_resumed(app, api, project):
    first, second = deploy(app, api, project), deploy(app, api, project)
    rolled_back = api.post(f"/api/deployments/{first['id']}/promote").json
    assert rolled_back["isLive"] is True
    assert api.get(f"/api/deployments/{second['id']}").json["isLive"] is False
    assert api.get(f"/api/projects/{project['id']}").json["autoPromote"] is False

    third = deploy(app, api, project)
    assert (third["status"], third["isLive"]) == ("success", False)
    assert third["url"] != project["url"]

    api.post(f"/api/projects/{project['id']}/resume")
    assert deploy(app, api, project)["isLive"] is True


def test_what_production_shows_cannot_be_deleted_and_others_can(app, api, project):
    first, second = deploy(app, api, project), deploy(app, api, project)
    live = api.delete(f"/api/deployments/{second['id']}")
    assert (live.status_code, live.json["error"]["code"]) == (409, "DEPLOYMENT_LIVE")
    assert api.delete(f"/api/deployments/{first['id']}").status_code == 204
    assert api.get(f"/api/deployments/{first['id']}").status_code == 404


def test_the_log_is_read_by_number_and_downloaded_whole(app, api, deployment):
    agent = open_agent(app, deployment["id"])
    agent.fetch_order()
    agent.say("one", "\x1b[31mtwo\x1b[0m", "three")
    path = f"/api/deployments/{deployment['id']}/logs"
    first = api.get(f"{path}?limit=2").json
    assert [(line["seq"], line["message"]) for line in first["logs"]] == [(1, "[00:00] one"), (2, "[00:01] two")]
    assert first["nextAfter"] == 2
    assert [line["seq"] for line in api.get(f"{path}?after=2").json["logs"]] == [3]
    download = api.client.get(path, headers={**api.headers, "Accept": "text/plain"})
    assert download.mimetype == "text/plain"
    assert download.text == "[00:00] one\n[00:01] two\n[00:02] three\n"


def test_a_slow_reader_of_a_log_keeps_no_connection_of_the_database(app, api, deployment):
    with app.app_context():
        logs.append(uuid.UUID(deployment["id"]), [logs.Line(f"line {number}") for number in range(2500)])
        db.session.commit()
        pool = db.engine.pool
    headers = {**api.headers, "Accept": "text/plain"}
    download = api.client.get(f"/api/deployments/{deployment['id']}/logs", headers=headers, buffered=False)
    pages = iter(download.response)
    assert next(pages).startswith(b"[00:00] line 0\n")
    assert pool.checkedout() == 0
    assert b"".join(pages).endswith(b"[00:00] line 2499\n")


def test_a_log_is_not_downloaded_without_limit(make_app, alice, deployment):
    browser = Browser(make_app(rate_limit_api="1/hour")).sign_in(alice)
    path = f"/deployments/{deployment['id']}/logs.txt"
    assert [browser.get(path).status_code for _ in "12"] == [200, 429]


def test_when_every_connection_is_in_use_the_answer_is_a_503(make_app, api):
    busy = make_app(database_pool_size=2)
    with busy.app_context():
        db.engine.pool._timeout = 0.1
        used = [db.engine.connect() for _ in range(2)]
        answered = busy.test_client().get("/api/projects", headers=api.headers)
        assert (answered.status_code, answered.json["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        for connection in used:
            connection.close()
        # What a peak took to open serves those who come later.
        assert db.engine.pool.checkedin() == 2


def test_a_deployment_is_accepted_though_redis_is_away(make_app, alice, project):
    away = Api(make_app(redis_url="redis://127.0.0.1:1/0"), alice.token)
    answered = away.post("/api/deployments", {"projectId": project["id"]})
    assert (answered.status_code, answered.json["status"]) == (201, "queued")


ACTIONS = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/logs"),
    ("POST", "/cancel"),
    ("POST", "/redeploy"),
    ("POST", "/promote"),
]


@pytest.mark.parametrize(("method", "path"), ACTIONS)
def test_a_stranger_finds_no_deployment_and_nobody_is_asked_to_sign_in(
    strangers_api, nobodys_api, deployment, method, path
):
    url = f"/api/deployments/{deployment['id']}{path}"
    stranger = strangers_api.client.open(url, method=method, headers=strangers_api.headers)
    assert (stranger.status_code, stranger.json["error"]["code"]) == (404, "DEPLOYMENT_NOT_FOUND")
    assert nobodys_api.client.open(url, method=method).status_code == 401


def test_a_stranger_cannot_deploy_anothers_project(strangers_api, project):
    assert strangers_api.post("/api/deployments", {"projectId": project["id"]}).status_code == 404


def test_a_deployment_that_never_was_is_not_found(api):
    assert api.get(f"/api/deployments/{uuid.uuid4()}").status_code == 404
    assert api.post(f"/api/deployments/{uuid.uuid4()}/cancel").status_code == 404


@pytest.mark.parametrize("path", ["/cancel", "/redeploy", "/promote"])
def test_an_action_is_not_taken_by_get(api, deployment, path):
    assert api.get(f"/api/deployments/{deployment['id']}{path}").status_code == 405


@contextmanager
def held(app, project):
    """Hold a project as another request does in the middle of its transaction; let go at the block's end."""
    with app.app_context(), db.engine.connect() as other:
        other.execute(text("SELECT FROM projects WHERE id = :id FOR NO KEY UPDATE"), {"id": project["id"]})
        yield other
        other.commit()


def wait_until_something_waits_for_a_lock(app):
    """Return once a connection waits for another's lock."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watcher:
        deadline = time.monotonic() + 60
        while not watcher.scalar(waiting):
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.01)


@pytest.mark.parametrize("path", ["/deployments", "/projects/{project}"])
def test_each_row_leads_to_the_site_that_shows_it_and_promotes_what_is_not_live(app, api, project, browser, path):
    first, second = deploy(app, api, project), deploy(app, api, project)
    first = api.get(f"/api/deployments/{first['id']}").json
    page = browser.get(path.format(project=project["id"])).text
    rows = re.findall(r"<tr id=.*?</tr>", page, re.DOTALL)
    assert [re.findall(r'menu-item" href="([^"]+)"', row) for row in rows] == [[second["url"]], [first["url"]]]
    assert first["url"] != second["url"] == project["url"]
    assert [f"/{id}/promote" in row for row, id in zip(rows, (second["id"], first["id"]), strict=True)] == [False, True]


def test_what_is_promoted_in_the_middle_of_a_deletion_stays(app, api, project):
    first = deploy(app, api, project)
    deploy(app, api, project)
    with ThreadPoolExecutor() as pool:
        with held(app, project) as promotion:
            deletion = pool.submit(api.delete, f"/api/deployments/{first['id']}")
            wait_until_something_waits_for_a_lock(app)
            switch = "UPDATE site_hosts SET deployment_id = :id, generation = generation + 1 WHERE kind = 'production'"
            promotion.execute(text(switch), {"id": first["id"]})
        assert deletion.result().json["error"]["code"] == "DEPLOYMENT_LIVE"
    assert api.get(f"/api/deployments/{first['id']}").json["isLive"] is True


def test_deleting_an_older_deployment_leaves_the_host_that_a_newer_one_took_meanwhile(app, api, project):
    first, second = deploy(app, api, project), deploy(app, api, project)
    taken = "UPDATE site_hosts SET deployment_id = :id, kind = 'branch' WHERE label = :label"
    label = second["immutableUrl"].split("://")[1].split(".")[0]
    with app.app_context(), ThreadPoolExecutor() as pool:
        db.session.execute(text(taken), {"id": first["id"], "label": label})
        db.session.commit()
        with held(app, project) as publisher:
            deletion = pool.submit(api.delete, f"/api/deployments/{first['id']}")
            wait_until_something_waits_for_a_lock(app)
            publisher.execute(text(taken), {"id": second["id"], "label": label})
        assert deletion.result().status_code == 204
        shown = "SELECT deployment_id FROM site_hosts WHERE label = :label"
        assert str(db.session.scalar(text(shown), {"label": label})) == second["id"]


def test_promoting_what_was_deleted_meanwhile_is_a_404(app, api, project):
    first = deploy(app, api, project)
    deploy(app, api, project)
    with ThreadPoolExecutor() as pool:
        with held(app, project) as deletion:
            promotion = pool.submit(api.post, f"/api/deployments/{first['id']}/promote")
            wait_until_something_waits_for_a_lock(app)
            deletion.execute(text("DELETE FROM deployments WHERE id = :id"), first)
        assert promotion.result().json["error"]["code"] == "DEPLOYMENT_NOT_FOUND"


def test_deploying_a_project_that_is_deleted_meanwhile_is_a_404(app, api, project):
    with ThreadPoolExecutor() as pool:
        with held(app, project) as deletion:
            request = pool.submit(api.post, "/api/deployments", {"projectId": project["id"]})
            wait_until_something_waits_for_a_lock(app)
            deletion.execute(text("DELETE FROM projects WHERE id = :id"), project)
        assert request.result().json["error"]["code"] == "PROJECT_NOT_FOUND"
