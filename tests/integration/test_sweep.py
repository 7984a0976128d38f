"""The sweep and the workers' last words: what was forgotten goes on, and what is stale changes nothing."""

from __future__ import annotations

import signal
import uuid

import pytest
from rq import Queue

from autostack.builds import service, sweep
from autostack.builds.dispatch import enqueue_build
from autostack.extensions import db, redis
from autostack.queue import BUILDS, CONTROL, enqueue, waiting
from autostack.worker import AppWorker
from tests.builders import Agent

SWEEP = "autostack.builds.jobs.sweep_deployments"


@pytest.fixture
def deployment(api, project):
    return api.post("/api/deployments", {"projectId": project["id"]}).json


def take_job(deployment_id):
    """Take the job that builds a deployment from the queue, as a worker does."""
    queue = Queue(BUILDS, connection=redis())
    (job,) = (job for job in queue.get_jobs() if job.args[0] == deployment_id)
    queue.remove(job)
    return job


def open_by(app, job):
    """Open the attempt that a job names, and fetch its order."""
    opened = service.open_attempt(uuid.UUID(job.args[0]), "local", uuid.UUID(job.args[1]))
    if opened is None:
        return None
    agent = Agent(app, opened.id, opened.bootstrap_token)
    agent.fetch_order()
    return agent


def test_a_work_horse_that_dies_late_takes_nothing_from_the_retry(app, api, deployment):
    with app.app_context():
        first = take_job(deployment["id"])
        service.lose(open_by(app, first).attempt_id, "The build's worker stopped answering")
        retry = open_by(app, take_job(deployment["id"]))
        AppWorker(app, BUILDS).handle_work_horse_killed(first, 1, signal.SIGKILL, None)
    assert retry.say("still here").status_code == 200
    assert api.get(f"/api/deployments/{deployment['id']}").json["status"] == "building"


def test_a_work_horse_that_dies_fails_its_own_build(app, api, deployment):
    with app.app_context():
        job = take_job(deployment["id"])
        open_by(app, job)
        AppWorker(app, BUILDS).handle_work_horse_killed(job, 1, signal.SIGKILL, None)
    shown = api.get(f"/api/deployments/{deployment['id']}").json
    assert (shown["status"], "killed (signal 9)" in shown["reason"]) == ("failed", True)


def test_a_job_that_is_run_twice_opens_one_attempt(app, deployment):
    with app.app_context():
        job = take_job(deployment["id"])
        agent = open_by(app, job)
        assert open_by(app, job) is None
        service.lose(agent.attempt_id, "The build's worker stopped answering")
        assert open_by(app, job) is None
        assert open_by(app, take_job(deployment["id"])) is not None


def test_a_deployment_that_the_queue_forgot_is_told_again_though_others_wait(app, deployment):
    with app.app_context():
        take_job(deployment["id"])
        enqueue_build(uuid.uuid4())
        sweep.enqueue_forgotten()
        assert open_by(app, take_job(deployment["id"])) is not None


def test_a_deployment_that_waits_is_told_once(app, deployment):
    with app.app_context():
        for _ in range(3):
            sweep.enqueue_forgotten()
        assert take_job(deployment["id"]).args[0] == deployment["id"]
        assert waiting(BUILDS) == set()


def test_a_cancelled_deployment_whose_worker_is_lost_is_not_built_again(app, api, deployment):
    with app.app_context():
        agent = open_by(app, take_job(deployment["id"]))
        api.post(f"/api/deployments/{deployment['id']}/cancel")
        service.lose(agent.attempt_id, "The build's worker stopped answering")
        assert waiting(BUILDS) == set()
    shown = api.get(f"/api/deployments/{deployment['id']}").json
    assert shown["status"] == "cancelled"
    assert not any("Building again" in line for line in shown["logs"])


def test_the_clock_sees_whether_a_sweep_waits_among_other_jobs(app, deployment):
    with app.app_context():
        # The mail that signing up asked for waits, too.
        Queue(CONTROL, connection=redis()).empty()
        enqueue(CONTROL, service.PUBLISH, deployment["id"])
        assert waiting(CONTROL) == {deployment["id"]}
        enqueue(CONTROL, SWEEP)
        assert waiting(CONTROL) == {deployment["id"], "sweep_deployments"}
        db.session.rollback()
