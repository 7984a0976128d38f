"""Whose build ECS is asked to start, and what follows from what it answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from autostack.builds import launching, sweep
from autostack.builds.ecs import Halted
from autostack.builds.models import BuildAttempt
from autostack.database import session_lock
from autostack.deployments.models import Deployment
from autostack.extensions import db
from tests.builds_on_ecs import agent_of, change_attempts, queue_up, shown
from tests.faults.watching import wait_for
from tests.jobs import work_off
from tests.peers.ecs import NOTHING, PLAYED, UNHEARD, Refusal, error, failure
from tests.people import make_person

WAITS_FOR_A_LOCK = db.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


def test_users_have_their_turns_whoever_came_first(make_app, ecs, alice, charlie):
    app = make_app(**ecs.settings(), max_concurrent_builds=5, max_concurrent_builds_per_user=3)
    ecs.fates.extend([PLAYED] * 5)
    mine, theirs = queue_up(app, alice, 6), queue_up(app, charlie, 2)
    with app.app_context():
        assert not launching.start_some()
        started = db.session.scalars(select(BuildAttempt.deployment_id).order_by(BuildAttempt.created_at)).all()
    assert set(started) == {*mine[:3], *theirs}


def test_who_waits_for_a_limit_is_told_which(make_app, ecs, alice, charlie):
    app = make_app(**ecs.settings(), max_concurrent_builds=2, max_concurrent_builds_per_user=1)
    ecs.fates.extend([PLAYED] * 2)
    mine, theirs = queue_up(app, alice, 2), queue_up(app, charlie, 1)
    last = queue_up(app, make_person(app, "Dora", "dora@example.com"), 1)
    with app.app_context():
        launching.start_some()
        why = dict(db.session.execute(select(Deployment.id, Deployment.reason)).all())
    assert [why[mine[0]], why[theirs[0]]] == [launching.STARTING] * 2
    assert why[mine[1]] == "Waiting for your other builds to end: 1 of them run at once"
    assert why[last[0]] == "Waiting for other builds to end: 2 run at once"


def test_an_end_makes_room_for_who_waits(make_app, ecs, alice, charlie):
    app = make_app(**ecs.settings(), max_concurrent_builds=1)
    ecs.fates.extend([PLAYED] * 2)
    queue_up(app, alice, 1)
    queue_up(app, charlie, 1)
    with app.app_context():
        launching.start_some()
    agent_of(app, *ecs.tasks.values()).finish("failed", "no")
    assert "launch_builds" in work_off(app)
    assert len(ecs.tasks) == 2


def test_a_build_that_ecs_does_not_take_holds_no_other_up(make_app, ecs, alice, charlie):
    # Longer than the rest of this may take: it is not asked for again.
    app = make_app(**{**ecs.settings(), "ecs_retry_interval_s": 600})
    ecs.fates.extend([PLAYED] * 5)
    mine = queue_up(app, alice, 1)
    ecs.refuse("RunTask", error("ClientException", message="No Fargate configuration exists for given values."))
    with app.app_context():
        launching.start_some()
        queue_up(app, charlie, 5)
        launching.start_some()
        why, refusals = db.session.execute(
            select(Deployment.reason, Deployment.refusals).where(Deployment.id == mine[0])
        ).one()
    assert len(ecs.tasks) == 5
    assert (why, refusals) == ("ECS does not take this build: No Fargate configuration exists for given values.", 1)


def test_a_refusal_takes_no_attempt_back_that_may_have_a_task(ecs_app, ecs, ecs_api, deploy_on_ecs):
    ecs.refuse("RunTask", *[error("ServerException", 500)] * 2, error("ExpiredTokenException"))
    ecs.fates.append(PLAYED)
    deployment = deploy_on_ecs()
    work_off(ecs_app)
    with ecs_app.app_context():
        before = db.session.scalar(select(BuildAttempt.id))
        sweep.sweep()
    work_off(ecs_app)
    assert shown(ecs_api, deployment)["reason"] == launching.HALTED
    with ecs_app.app_context():
        launching.start_some()
        assert db.session.scalar(select(BuildAttempt.id)) == before
    assert [task.request["clientToken"] for task in ecs.tasks.values()] == [str(before)]


@pytest.mark.parametrize("refusal", [error("ExpiredTokenException"), failure("Capacity is unavailable at this time.")])
def test_a_task_that_ecs_does_not_list_yet_is_no_reason_to_start_another(ecs_app, ecs, deploy_on_ecs, refusal):
    ecs.fates.extend([PLAYED, PLAYED])
    ecs.refuse("RunTask", UNHEARD, UNHEARD, refusal)
    ecs.refuse("ListTasks", *[Refusal(200, {"taskArns": []})] * 2)
    deploy_on_ecs()
    work_off(ecs_app)
    with ecs_app.app_context():
        for _ in range(3):
            sweep.sweep()
            work_off(ecs_app)
        assert db.session.scalar(select(BuildAttempt.task)) == next(iter(ecs.tasks))
    assert len(ecs.tasks) == 1


def test_what_one_worker_is_told_takes_back_nothing_that_another_has_started(ecs_app, ecs, alice):
    ecs.fates.append(PLAYED)
    queue_up(ecs_app, alice, 1)
    with ecs_app.app_context():
        (launch,) = launching._open_next()
        launching._start([launch], set())
        launching._follow(launch, Halted("ExpiredTokenException"), may_run=False)
        assert db.session.scalar(select(BuildAttempt.task)) == next(iter(ecs.tasks))


def test_one_worker_at_a_time_has_builds_started(ecs_app, ecs, alice):
    ecs.fates.append(PLAYED)
    queue_up(ecs_app, alice, 1)
    with ecs_app.app_context(), ThreadPoolExecutor(1) as other:
        with session_lock(launching.STARTS_LOCK, waits=True):
            started = other.submit(_start_some_in, ecs_app)
            wait_for(lambda: db.session.scalar(WAITS_FOR_A_LOCK))
            assert not ecs.tasks
        assert started.result() is False
    assert len(ecs.tasks) == 1


def _start_some_in(app):
    with app.app_context():
        return launching.start_some()


def test_what_ecs_was_not_even_asked_for_holds_no_place(ecs_app, ecs, alice, monkeypatch):
    monkeypatch.setattr(launching, "CONNECTIONS", 1)
    ecs.refuse("RunTask", *[error("ServerException", 500)] * 2)
    queue_up(ecs_app, alice, 3)
    with ecs_app.app_context():
        launching.start_some()
        assert (launching._running(), ecs.calls) == (1, {"RunTask": 2})


def test_attempts_that_ecs_tells_nothing_of_keep_no_other_waiting(ecs_app, ecs, alice, charlie):
    ecs.refuse("RunTask", *[NOTHING] * 8)
    queue_up(ecs_app, alice, 4)
    ecs.fates.extend([PLAYED] * 5)
    with ecs_app.app_context():
        launching.start_some()
        change_attempts(sweeps=1)
        queue_up(ecs_app, charlie, 2)
        # Each call is tried twice.
        ecs.refuse("ListTasks", *[error("ServerException", 500)] * 8)
        launching.start_some()
        assert len(ecs.tasks) == 2
        launching.start_some()
    assert len(ecs.tasks) == 6


def test_attempts_without_a_task_are_looked_for_side_by_side(ecs_app, ecs, alice):
    ecs.refuse("RunTask", *[NOTHING] * 8)
    queue_up(ecs_app, alice, 4)
    ecs.fates.extend([PLAYED] * 4)
    together = threading.Barrier(4)
    with ecs_app.app_context():
        launching.start_some()
        change_attempts(sweeps=1)
        ecs.meanwhile = lambda operation: operation == "ListTasks" and together.wait(60)
        launching.start_some()
    assert len(ecs.tasks) == 4
