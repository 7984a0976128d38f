"""Tasks on ECS once they were started: those that fall silent are asked about, those that nobody needs are stopped."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from autostack.builds import launching, sweep, tasks
from autostack.builds.ecs import EcsUnavailable
from autostack.builds.models import BuildAttempt
from autostack.deployments import jobs
from autostack.deployments.models import Deployment, DeploymentLog
from autostack.deployments.status import Status
from autostack.extensions import db
from autostack.projects import service as projects
from tests.builds_on_ecs import agent_of, change_attempts, queue_up, running, shown, start
from tests.jobs import work_off
from tests.peers.ecs import PLAYED, error


def test_silent_tasks_are_described_a_hundred_at_a_time_and_started_in_parts(ecs_app, ecs, alice, make_app):
    app = make_app(**{**ecs.settings(), "max_concurrent_builds": 200, "max_concurrent_builds_per_user": 200})
    ecs.fates.extend([PLAYED] * 150)
    queue_up(app, alice, 150)
    with app.app_context():
        assert launching.start_some()
        assert len(ecs.tasks) == launching.AT_ONCE
        assert not launching.start_some()
        change_attempts(silent_sweeps=1)
        tasks.look_after()
    assert (ecs.calls["RunTask"], ecs.calls["DescribeTasks"], ecs.most_described) == (150, 2, 100)


def test_a_task_that_ecs_will_not_be_asked_about_keeps_no_other_from_being_judged(ecs_app, ecs, alice):
    start(ecs_app, ecs, alice, 5)
    with ecs_app.app_context():
        for task in ecs.tasks.values():
            ecs.interrupt(task)
        ecs.unmentionable.add(list(ecs.tasks)[2])
        change_attempts(silent_sweeps=1)
        tasks.look_after()
        unjudged = db.session.scalars(select(BuildAttempt.task).where(BuildAttempt.ended_at.is_(None))).all()
    assert set(unjudged) == ecs.unmentionable


def test_an_agent_that_is_heard_as_ecs_is_asked_about_it_is_not_given_up(ecs_app, ecs, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    deploy_on_ecs()
    work_off(ecs_app)
    agent = agent_of(ecs_app, *ecs.tasks.values())
    agent.say("here")
    with ecs_app.app_context():
        change_attempts(silent_sweeps=3)
        ecs.meanwhile = lambda operation: operation == "DescribeTasks" and agent.say("web was slow")
        tasks.look_after()
        assert db.session.scalar(select(BuildAttempt.outcome)) is None


def test_many_tasks_that_died_have_their_last_lines_read_side_by_side(ecs_app, ecs, alice, monkeypatch):
    monkeypatch.setattr(tasks, "LINES_BUDGET_S", 120)
    ecs.fates.extend([PLAYED] * 10)
    queue_up(ecs_app, alice, 10)
    together = threading.Barrier(5)
    ecs.meanwhile = lambda operation: operation == "GetLogEvents" and together.wait(60)
    with ecs_app.app_context():
        launching.start_some()
        for task in ecs.tasks.values():
            ecs.last_words(task, f"the last of {task.id}")
            ecs.interrupt(task)
        change_attempts(silent_sweeps=1)
        tasks.look_after()
        lines = {line.partition("] ")[2] for line in db.session.scalars(select(DeploymentLog.message))}
    assert {f"the last of {task.id}" for task in ecs.tasks.values()} <= lines


def test_last_lines_that_cloudwatch_does_not_tell_in_time_are_done_without(ecs_app, ecs, alice, monkeypatch):
    monkeypatch.setattr(tasks, "LINES_BUDGET_S", 0.5)
    ecs.fates.append(PLAYED)
    queue_up(ecs_app, alice, 1)
    ecs.meanwhile = lambda operation: operation == "GetLogEvents" and ecs.leaves.wait(30)
    with ecs_app.app_context():
        launching.start_some()
        ecs.interrupt(*ecs.tasks.values())
        change_attempts(silent_sweeps=1)
        tasks.look_after()
        assert db.session.scalar(select(BuildAttempt.outcome)) == "lost"


def test_a_build_that_is_cancelled_has_its_task_stopped_at_once(ecs_app, ecs, ecs_api, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    deployment = deploy_on_ecs()
    work_off(ecs_app)
    (task,) = ecs.tasks.values()
    agent_of(ecs_app, task)
    assert ecs_api.post(f"/api/deployments/{deployment['id']}/cancel").status_code == 200
    work_off(ecs_app)
    assert ecs.stopped == [(task.arn, "The deployment was cancelled")]
    with ecs_app.app_context():
        sweep.sweep()
    assert len(ecs.stopped) == 1


def test_a_build_that_goes_on_and_on_is_stopped(ecs_app, ecs, ecs_api, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    deployment = deploy_on_ecs()
    work_off(ecs_app)
    (task,) = ecs.tasks.values()
    agent_of(ecs_app, task).say("still here")
    with ecs_app.app_context():
        change_attempts(sweeps=86_400)
        sweep.sweep()
    ended = shown(ecs_api, deployment)
    assert (ended["status"], ended["reason"]) == ("failed", tasks.TOO_LONG)
    assert ecs.stopped == [(task.arn, tasks.TOO_LONG)]


def test_a_task_that_ecs_will_not_stop_keeps_no_other_running(ecs_app, ecs, alice):
    start(ecs_app, ecs, alice, 3)
    with ecs_app.app_context():
        change_attempts(outcome="cancelled", ended_at=datetime.now(UTC))
        ecs.refuse("StopTask", error("AccessDeniedException"))
        with pytest.raises(EcsUnavailable):
            tasks.stop_ended()
        assert len(ecs.stopped) == 2
        tasks.stop_ended()
        assert len(ecs.stopped) == 3


def test_a_task_that_lingers_long_after_the_end_of_its_build_is_stopped(ecs_app, ecs, alice):
    start(ecs_app, ecs, alice, 3)
    for task in ecs.tasks.values():
        agent_of(ecs_app, task).finish("failed", "no")
    hangs, ended, young = ecs.tasks.values()
    ecs.interrupt(ended, "EssentialContainerExited")
    with ecs_app.app_context():
        long_ago = datetime.now(UTC) - timedelta(seconds=1_000)
        mine = update(BuildAttempt).where(BuildAttempt.task != young.arn)
        db.session.execute(mine.values(ended_at=long_ago))
        db.session.commit()
        for _ in range(2):
            tasks.stop_lingering()
        assert db.session.scalars(select(BuildAttempt.task).where(~BuildAttempt.task_over)).all() == [young.arn]
    assert ecs.stopped == [(hangs.arn, tasks.LINGERS)]
    assert ecs.calls == {"RunTask": 3, "DescribeTasks": 1, "StopTask": 1}


def test_ends_of_cancelled_builds_wait_for_no_attempt_that_another_job_holds(ecs_app, ecs, alice):
    start(ecs_app, ecs, alice, 2)
    with ecs_app.app_context():
        db.session.execute(update(Deployment).values(status=Status.CANCELLED))
        db.session.commit()
        open_still = select(func.count()).select_from(BuildAttempt).where(BuildAttempt.ended_at.is_(None))
        with db.engine.connect() as other:
            other.execute(select(BuildAttempt.id).order_by(BuildAttempt.id).limit(1).with_for_update())
            sweep.end_left_over_attempts()
            assert db.session.scalar(open_still) == 1
        sweep.end_left_over_attempts()
        assert db.session.scalar(open_still) == 0


@pytest.mark.parametrize("first", ["stop_tasks", "remove_deleted"])
def test_what_runs_for_a_deleted_project_is_stopped(ecs_app, ecs, ecs_api, deploy_on_ecs, project, first):
    ecs.fates.append(PLAYED)
    deploy_on_ecs()
    work_off(ecs_app)
    agent_of(ecs_app, *ecs.tasks.values()).say("still here")
    assert ecs_api.delete(f"/api/projects/{project['id']}").status_code in (200, 204)
    if first == "remove_deleted":
        with ecs_app.app_context():
            jobs.remove_deleted()
            assert launching._running() == 1
    work_off(ecs_app)
    assert not running(ecs)
    with ecs_app.app_context():
        tasks.stop_ended()
        assert (launching._running(), len(ecs.stopped)) == (0, 1)


def test_what_runs_for_a_deleted_deployment_is_stopped(ecs_app, ecs, ecs_api, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    deployment = deploy_on_ecs()
    work_off(ecs_app)
    assert ecs_api.delete(f"/api/deployments/{deployment['id']}").status_code in (200, 204)
    work_off(ecs_app)
    assert not running(ecs)


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_task_that_starts_as_its_project_is_deleted_is_stopped(ecs_app, ecs, alice, is_removed):
    ecs.fates.append(PLAYED)
    queue_up(ecs_app, alice, 1)
    with ecs_app.app_context():
        (launch,) = launching._open_next()
        projects.delete_projects_of(alice.id)
        if is_removed:
            jobs.remove_deleted()
        launching._start([launch], set())
        assert len(running(ecs)) == 1
    work_off(ecs_app)
    assert not running(ecs)


def test_no_limit_is_passed_by_deleting_what_runs(make_app, ecs, alice):
    app = make_app(**ecs.settings(), max_concurrent_builds=2, max_concurrent_builds_per_user=2)
    ecs.fates.extend([PLAYED] * 6)
    with app.app_context():
        for is_removed in (False, True, True):
            queue_up(app, alice, 2)
            launching.start_some()
            projects.delete_projects_of(alice.id)
            if is_removed:
                jobs.remove_deleted()
    assert len(running(ecs)) == 2
