"""What is deleted goes from the object store too, whatever Redis forgets, and not before its routes."""

from __future__ import annotations

import uuid

import pytest
from rq import Queue
from sqlalchemy import text

from autostack.builds import sweep
from autostack.deployments import hosts, jobs
from autostack.extensions import db, redis, store
from autostack.projects import removals
from autostack.sites.errors import StoreUnavailable
from autostack.sites.store import Store
from tests.builders import build, publish


@pytest.fixture
def deployment(app, api, project):
    """A deployment of Alice's project that is live."""
    return deploy(app, api, project)


def deploy(app, api, project):
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, id, {"/index.html": b"<h1>hi</h1>"})
    publish(app, id)
    return api.get(f"/api/deployments/{id}").json


def stored(folder):
    return list(store().names(folder))


def test_the_sweep_tells_of_a_removal_that_redis_forgot(app, api, project, deployment):
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    with app.app_context():
        redis().flushall()
        db.session.execute(text("UPDATE removals SET created_at = now() - interval '1 minute'"))
        db.session.commit()
        sweep.remove_left_over()
        (job,) = Queue("control", connection=redis()).get_jobs()
        assert stored(f"projects/{project['id']}")
        job.func(*job.args)
        assert stored(f"projects/{project['id']}") == []
        assert removals.planned() == []


def test_deleting_a_deployment_leaves_the_files_that_another_one_shares(app, api, project, deployment):
    deploy(app, api, project)
    assert api.delete(f"/api/deployments/{deployment['id']}").status_code == 204
    with app.app_context():
        jobs.remove_planned()
        assert stored(f"projects/{project['id']}/deployments/{deployment['id']}") == []
        assert stored(f"projects/{project['id']}/blobs")


def test_files_go_only_when_no_route_of_many_leads_there(app, api, project, deployment):
    more = """
        INSERT INTO site_hosts (label, project_id, deployment_id, kind, generation)
        SELECT 'site-' || number, :project, :deployment, 'branch', 1 FROM generate_series(1, 150) number
    """
    with app.app_context():
        db.session.execute(text(more), {"project": project["id"], "deployment": uuid.UUID(deployment["id"])})
        db.session.commit()
        hosts.write_all()
        assert api.delete(f"/api/projects/{project['id']}").status_code == 204
        jobs.remove_planned()
        assert hosts.unwritten() == []
        assert stored(f"projects/{project['id']}") == []


def test_a_removal_that_the_store_refuses_stays_planned(app, api, project, deployment, make_app):
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    away = make_app(storage_url="s3://sites", s3_endpoint_url="http://127.0.0.1:1")
    with away.app_context():
        with pytest.raises(StoreUnavailable):
            jobs.remove_planned()
        assert removals.planned() == [f"projects/{project['id']}"]


def test_what_the_store_refuses_to_remove_keeps_nothing_else_back(app, api, project, site, deployment, monkeypatch):
    other = api.post("/api/projects", {"name": "Other", "repository": site}).json
    deploy(app, api, other)
    for id in (project["id"], other["id"]):
        assert api.delete(f"/api/projects/{id}").status_code == 204
    remove = Store.delete_prefix

    def refuse_the_first(self, prefix):
        if project["id"] in prefix:
            raise StoreUnavailable("away")
        remove(self, prefix)

    monkeypatch.setattr(Store, "delete_prefix", refuse_the_first)
    with app.app_context():
        with pytest.raises(StoreUnavailable):
            jobs.remove_planned()
        assert removals.planned() == [f"projects/{project['id']}"]
        assert stored(f"projects/{other['id']}") == []
