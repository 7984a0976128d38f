"""Agents whose connections hang, beside the rows of FAULTS.md: they hold up nobody but themselves."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from autostack.builds import sweep
from autostack.builds.models import BuildAttempt
from autostack.deployments import hosts
from autostack.deployments.models import Deployment
from autostack.extensions import db
from autostack.projects.models import SiteHost
from tests.builders import build, open_agent, publish

SITE = {"/index.html": b"<h1>hi</h1>"}
FILE = {"path": "/index.html", "size": 1, "sha256": "0" * 64}


class Stalled(io.BytesIO):
    """A request's body that stops on its way until `go` is set."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reached, self.go = threading.Event(), threading.Event()

    def read(self, size=-1) -> bytes:
        self._wait()
        return super().read(size)

    def readinto(self, buffer) -> int:
        self._wait()
        return super().readinto(buffer)

    def _wait(self) -> None:
        self.reached.set()
        assert self.go.wait(300)


@pytest.fixture
def agent(app, api, project):
    opened = open_agent(app, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    opened.fetch_order()
    return opened


def assert_nothing_is_held(app, agent):
    with app.app_context():
        attempt = select(BuildAttempt).where(BuildAttempt.id == agent.attempt_id)
        held = db.session.scalar(attempt.with_for_update(nowait=True))
        assert held is not None
        assert db.session.get(Deployment, held.deployment_id, with_for_update={"nowait": True}) is not None
        db.session.rollback()
        assert db.engine.pool.checkedout() == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/logs", {"batch": 1, "lines": []}),
        ("/source", {"framework": "Vite"}),
        ("/files", {"files": [FILE]}),
        ("/finish", {"outcome": "failed"}),
    ],
)
def test_an_agent_that_stalls_in_its_body_holds_no_lock_and_no_connection(app, agent, path, body):
    stalled = Stalled(json.dumps(body).encode())
    options = {"input_stream": stalled, "content_type": "application/json"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(agent.call, "POST", path, **options)
        assert stalled.reached.wait(120)
        assert_nothing_is_held(app, agent)
        stalled.go.set()
        assert answer.result().status_code in {200, 204}


def test_saving_a_cache_holds_nothing_while_it_is_sent(app, agent):
    stalled = Stalled(b"zst")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(agent.call, "PUT", "/cache/modules-abc", input_stream=stalled)
        assert stalled.reached.wait(120)
        assert_nothing_is_held(app, agent)
        stalled.go.set()
        assert answer.result().status_code == 204


def test_a_row_that_somebody_holds_keeps_the_sweep_from_no_other_work(app, api, agent):
    assert api.post(f"/api/deployments/{agent.order['deploymentId']}/cancel").status_code == 200
    other = api.post("/api/deployments", {"projectId": agent.order["projectId"]}).json["id"]
    build(app, other, SITE)
    publish(app, other)
    with app.app_context():
        db.session.execute(update(SiteHost).values(generation=SiteHost.generation + 1))
        db.session.commit()
        with db.engine.begin() as holder:
            # For ever: only PostgreSQL's own limit ends the sweep's wait for it.
            holder.execute(select(BuildAttempt.id).where(BuildAttempt.id == agent.attempt_id).with_for_update())
            sweep.sweep()
        assert hosts.unwritten() == []
