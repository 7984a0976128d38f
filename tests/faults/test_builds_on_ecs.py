"""Rows on ECS, provoked by a server that speaks its API, and fails in each of these ways."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import uuid
from dataclasses import replace

import pytest
from sqlalchemy import select

from autostack.builds import ecs as ecs_module
from autostack.builds import launching, sweep, tasks
from autostack.builds.ecs import Ecs, Halted
from autostack.builds.ecs_request import Launch, run_task
from autostack.builds.models import BuildAttempt
from autostack.extensions import db, redis
from tests.builders import Agent
from tests.faults.watching import wait_for
from tests.jobs import work_off
from tests.peers.ecs import LATE, MISSING, NOTHING, PENDING, PLAYED, RUNS, UNHEARD, error, failure, not_started
from tests.people import Api

CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"


class Builds:
    """Alice's deployments of one project, and time that passes: jobs and sweeps."""

    def __init__(self, app, api, project):
        self.app, self.api, self.project = app, api, project

    def deploy(self):
        return self.api.post("/api/deployments", {"projectId": self.project["id"]}).json["id"]

    def shown(self, id):
        return self.api.get(f"/api/deployments/{id}").json

    def state(self, id):
        shown = self.shown(id)
        return shown["status"], shown["reason"]

    def sweep(self, times=1):
        for _ in range(times):
            with self.app.app_context():
                sweep.sweep()
            work_off(self.app)

    def sweeps_until(self, condition):
        wait_for(lambda: self.sweep() or condition())

    def sweeps_until_attempts(self, id, outcomes):
        """Sweep until the attempts ended so: on a busy machine web answers late, and that sweep counts no silence."""
        self.sweeps_until(lambda: self.attempts(id) == outcomes)

    def attempts(self, id):
        with self.app.app_context():
            rows = select(BuildAttempt.outcome).where(BuildAttempt.deployment_id == uuid.UUID(id))
            return list(db.session.scalars(rows.order_by(BuildAttempt.number)))

    def task(self):
        """Return the one attempt's task, as far as it is known."""
        with self.app.app_context():
            return db.session.scalar(select(BuildAttempt.task))

    def agent_of(self, task):
        """Play the agent of a task, with what its environment says."""
        agent = Agent(self.app, task.environment["AUTOSTACK_ATTEMPT"], task.environment["AUTOSTACK_BOOTSTRAP_TOKEN"])
        agent.fetch_order()
        return agent


@pytest.fixture
def builds(ecs_app, alice, project):
    return Builds(ecs_app, Api(ecs_app, alice.token), project)


def hold(builds, interval):
    """Have the pause that a refusal began end in so much time from now."""
    later = db.text(
        "UPDATE deployments SET held_until = now() + CAST(:interval AS interval) WHERE held_until > created_at"
    )
    with builds.app.app_context():
        assert db.session.execute(later, {"interval": interval}).rowcount == 1
        db.session.commit()


def test_f19_no_room_on_the_cluster_is_tried_again_later(builds, ecs):
    ecs.fates.append(PLAYED)
    ecs.refuse("RunTask", failure("RESOURCE:MEMORY"), failure("RESOURCE:CPU"))
    id = builds.deploy()
    work_off(builds.app)
    assert builds.state(id) == ("queued", "No room on ECS: RESOURCE:MEMORY")
    hold(builds, "5 minutes")
    with builds.app.app_context():
        launching.start_some()
    assert ecs.calls["RunTask"] == 1
    hold(builds, "0 minutes")
    builds.sweeps_until(lambda: ecs.tasks)
    assert (ecs.calls["RunTask"], builds.attempts(id)) == (3, [None])


def test_f19_no_room_for_too_long_fails_the_deployment_with_that_reason(builds, ecs):
    ecs.refuse("RunTask", failure("RESOURCE:MEMORY"))
    id = builds.deploy()
    # What came before, and would take minutes.
    with builds.app.app_context():
        most = builds.app.config["AUTOSTACK"].ecs_start_attempts
        db.session.execute(db.text("UPDATE deployments SET refusals = :n"), {"n": most - 1})
        db.session.commit()
    work_off(builds.app)
    assert builds.state(id) == ("failed", "No room on ECS: RESOURCE:MEMORY")


@pytest.mark.parametrize(
    ("ecs_app", "refusal"),
    [({}, error("ServerException", 500)), ({}, UNHEARD), ({"ecs_timeout_s": 1}, LATE)],
    ids=["5xx", "connection lost", "timeout"],
    indirect=["ecs_app"],
)
def test_f20_an_answer_that_is_lost_makes_no_second_task(builds, ecs, refusal):
    ecs.fates.append(PLAYED)
    # As often as one start is tried at once.
    ecs.refuse("RunTask", refusal, refusal)
    id = builds.deploy()
    work_off(builds.app)
    assert builds.state(id) == ("queued", launching.NO_ANSWER)
    # Whoever waits for a second only may have to ask ECS twice.
    builds.sweeps_until(builds.task)
    (task,) = ecs.tasks.values()
    assert (builds.state(id)[0], builds.task()) == ("queued", task.arn)
    builds.agent_of(task)
    assert (builds.state(id)[0], builds.attempts(id)) == ("building", [None])


def test_f20_a_start_that_comes_too_fast_for_ecs_is_asked_for_again_at_once(builds, ecs, monkeypatch):
    monkeypatch.setattr(ecs_module, "PAUSES_S", (0.01,) * 4)
    ecs.fates.append(PLAYED)
    ecs.refuse("RunTask", *[error("ThrottlingException")] * 3)
    builds.deploy()
    work_off(builds.app)
    assert (len(ecs.tasks), ecs.calls) == (1, {"RunTask": 4})


def test_f20_what_ecs_takes_no_requests_for_waits_and_is_looked_for_by_nobody(builds, ecs, monkeypatch):
    monkeypatch.setattr(ecs_module, "PAUSES_S", (0.01,) * 4)
    ecs.fates.append(PLAYED)
    ecs.refuse("RunTask", *[error("ThrottlingException")] * 5)
    id = builds.deploy()
    work_off(builds.app)
    # Nothing began: the place is free for others, and the attempt does not count.
    assert (builds.state(id), builds.attempts(id)) == (("queued", launching.NOT_NOW), [])
    builds.sweeps_until(lambda: ecs.tasks)
    assert (ecs.calls["RunTask"], ecs.calls["ListTasks"]) == (6, 0)


@pytest.mark.parametrize("then", [error("ThrottlingException"), error("ExpiredTokenException"), failure(CAPACITY)])
def test_f20_a_refusal_right_after_a_lost_answer_makes_no_second_task(builds, ecs, then, monkeypatch):
    monkeypatch.setattr(ecs_module, "PAUSES_S", (0.01,))
    ecs.fates.extend([PLAYED, PLAYED])
    ecs.refuse("RunTask", UNHEARD, then)
    id = builds.deploy()
    work_off(builds.app)
    assert builds.state(id) == ("queued", launching.NO_ANSWER)
    builds.sweep(2)
    (task,) = ecs.tasks.values()
    with builds.app.app_context():
        assert db.session.scalar(select(BuildAttempt.task)) == task.arn


def begun_unheard(builds, ecs):
    """Return a deployment whose agent has its order, though ECS's answer to its start was lost; and its task."""
    ecs.fates.extend([PLAYED, PLAYED])
    ecs.refuse("RunTask", UNHEARD, UNHEARD)
    id = builds.deploy()
    work_off(builds.app)
    (task,) = ecs.tasks.values()
    builds.agent_of(task)
    return id, task


def test_f20_a_task_that_began_and_ended_before_ecs_told_of_it_is_given_up(builds, ecs):
    id, task = begun_unheard(builds, ecs)
    ecs.interrupt(task)
    ecs.forget(task)
    builds.sweeps_until_attempts(id, ["lost", None])
    assert len(ecs.tasks) == 1


def test_f20_an_agent_that_goes_on_and_on_without_a_known_task_is_ended(builds, ecs):
    ecs.fates.append(PLAYED)
    ecs.refuse("RunTask", UNHEARD, UNHEARD)
    id = builds.deploy()
    work_off(builds.app)
    (task,) = ecs.tasks.values()
    builds.agent_of(task).say("still here")
    ecs.forget(task)
    with builds.app.app_context():
        db.session.execute(db.text("UPDATE build_attempts SET sweeps = 86400"))
        db.session.commit()
    builds.sweep()
    assert builds.state(id) == ("failed", tasks.TOO_LONG)


def test_f20_an_answer_that_never_comes_is_not_waited_for_without_end(builds, ecs):
    ecs.refuse("RunTask", *[error("ServerException", 500)] * 400)
    id = builds.deploy()
    work_off(builds.app)
    builds.sweeps_until(lambda: builds.state(id)[0] == "failed")
    assert builds.state(id)[1] == "ECS did not say within 5 s whether it started the build"
    assert builds.attempts(id) == ["lost", "lost"]


def test_f20_a_task_that_ended_before_ecs_was_asked_for_it_is_found_and_judged(builds, ecs):
    id, task = begun_unheard(builds, ecs)
    ecs.interrupt(task)
    builds.sweeps_until_attempts(id, ["lost", None])
    assert any("AWS took the build's machine back" in line for line in builds.shown(id)["logs"])


def test_f21_without_capacity_a_deployment_waits_and_says_why(builds, ecs):
    ecs.refuse("RunTask", *[failure(CAPACITY)] * 3)
    ecs.fates.extend([not_started(CAPACITY), PLAYED])
    id = builds.deploy()
    work_off(builds.app)
    assert builds.state(id) == ("queued", f"No room on ECS: {CAPACITY}")
    builds.sweeps_until(lambda: len(ecs.tasks) == 2)
    # Neither counts as an attempt: nothing was tried.
    assert (builds.state(id)[0], builds.attempts(id)) == ("queued", [None])


def test_f22_an_answer_with_neither_a_task_nor_a_failure_is_asked_for_again(builds, ecs):
    ecs.fates.append(PLAYED)
    ecs.refuse("RunTask", NOTHING, NOTHING)
    id = builds.deploy()
    work_off(builds.app)
    assert builds.state(id) == ("queued", launching.NO_ANSWER)
    builds.sweep()
    (task,) = ecs.tasks.values()
    assert (task.request["clientToken"], builds.attempts(id)) == (task.environment["AUTOSTACK_ATTEMPT"], [None])


def test_f23_a_task_that_ecs_does_not_know_is_given_time_and_then_up(builds, ecs):
    ecs.fates.extend([MISSING, PLAYED])
    id = builds.deploy()
    work_off(builds.app)
    builds.sweeps_until(lambda: ecs.calls["DescribeTasks"] == 2)
    assert builds.attempts(id) == [None]
    builds.sweeps_until_attempts(id, ["lost", None])


def test_f24_a_start_that_failed_for_a_while_is_tried_again(builds, ecs):
    reason = "Timeout waiting for network interface provisioning to complete."
    ecs.fates.extend([not_started(reason), PLAYED])
    id = builds.deploy()
    work_off(builds.app)
    builds.sweeps_until_attempts(id, ["lost", None])
    assert len(ecs.tasks) == 2


def test_f24_an_image_that_is_not_there_is_not_asked_for_again(builds, ecs):
    ecs.fates.append(not_started("CannotPullContainerError: failed to resolve ref builder:2: not found"))
    id = builds.deploy()
    work_off(builds.app)
    builds.sweeps_until(lambda: builds.state(id)[0] == "failed")
    builds.sweep()
    status, reason = builds.state(id)
    assert (status, builds.attempts(id), len(ecs.tasks)) == ("failed", ["lost"], 1)
    assert "builder:2: not found" in reason


def test_f25_a_task_that_ended_without_an_exit_code_is_no_success(builds, ecs):
    ecs.fates.extend([PLAYED, PLAYED])
    id = builds.deploy()
    work_off(builds.app)
    for outcomes in (["lost", None], ["lost", "lost"]):
        task = list(ecs.tasks.values())[-1]
        # All but its last word.
        builds.agent_of(task).upload({"/index.html": b"hi"})
        ecs.interrupt(task, "EssentialContainerExited", "Host EC2 instance terminated.")
        builds.sweeps_until_attempts(id, outcomes)
    assert builds.state(id) == ("failed", "The build's machine failed: Host EC2 instance terminated.")


def test_f26_a_build_whose_machine_was_taken_back_is_made_again_and_its_log_kept(builds, ecs):
    ecs.fates.extend([PLAYED, RUNS])
    id = builds.deploy()
    work_off(builds.app)
    (first,) = ecs.tasks.values()
    builds.agent_of(first).say("the first one's words")
    ecs.last_words(first, "the first one's last words")
    ecs.interrupt(first)
    builds.sweeps_until(lambda: len(ecs.tasks) == 2)
    # A real build, which may take minutes on a busy machine. It may be over before this comes to look.
    wait_for(lambda: (work_off(builds.app), builds.state(id)[0])[1] == "success", within_s=600)
    assert builds.attempts(id) == ["lost", "built"]
    words = [line.partition("] ")[2] for line in builds.shown(id)["logs"]]
    kept = [
        "the first one's words",
        "The last lines of the build's task:",
        "the first one's last words",
        "AWS took the build's machine back (Spot interruption). Building again…",
    ]
    assert [word for word in words if word in kept] == kept


def test_f27_a_task_that_never_starts_is_stopped(builds, ecs):
    ecs.fates.extend([PENDING, PENDING])
    id = builds.deploy()
    work_off(builds.app)
    builds.sweeps_until(lambda: builds.state(id)[0] == "failed")
    assert builds.state(id)[1] == "The build's task did not start within 5 s"
    assert [arn for arn, _ in ecs.stopped] == list(ecs.tasks)
    assert len(ecs.tasks) == 2


# The worker must be dead before it gives up waiting and asks again.
@pytest.mark.parametrize("ecs_app", [{"ecs_timeout_s": 60}], indirect=True)
def test_f28_a_worker_that_dies_as_the_task_starts_leaves_it_to_be_found(builds, ecs):
    ecs.fates.append(PLAYED)
    ecs.refuse("RunTask", replace(LATE, after_s=60))
    id = builds.deploy()
    worker = multiprocessing.get_context("fork").Process(target=_launch_in_child, args=(builds.app,))
    worker.start()
    wait_for(lambda: ecs.tasks)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    with builds.app.app_context():
        redis().flushall()
    builds.sweeps_until(builds.task)
    (task,) = ecs.tasks.values()
    assert (ecs.calls["RunTask"], ecs.calls["ListTasks"]) == (1, 2)
    assert builds.task() == task.arn
    builds.agent_of(task)
    assert builds.state(id)[0] == "building"


def _launch_in_child(app):
    with app.app_context():
        db.engine.dispose(close=False)
        launching.start_some()


def test_f29_expired_keys_fail_nothing_and_the_log_says_so(builds, ecs, caplog):
    ecs.refuse("RunTask", *[error("ExpiredTokenException", message="The security token is expired")] * 6)
    id = builds.deploy()
    work_off(builds.app)
    builds.sweep(2)
    assert builds.state(id) == ("queued", launching.HALTED)
    assert "ExpiredTokenException: The security token is expired" in caplog.text
    ecs.refusals.clear()
    ecs.fates.append(PLAYED)
    builds.sweep()
    assert (len(ecs.tasks), builds.attempts(id)) == (1, [None])


def test_f29_what_never_leaves_us_is_known_to_have_started_nothing(make_settings, ecs, tmp_path, monkeypatch):
    launch = Launch(uuid.uuid4(), uuid.uuid4(), 1, 0, "one-shot")
    settings = make_settings(**ecs.settings())
    assert isinstance(Ecs(settings).start({**run_task(launch, settings), "count": "one"}), Halted)
    # A sign-in of AWS's that has ended.
    (tmp_path / "config").write_text(
        "[default]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
        "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    without_keys = settings.model_copy(update={"aws_access_key_id": None, "aws_secret_access_key": None})
    answer = Ecs(without_keys).start(run_task(launch, without_keys))
    assert isinstance(answer, Halted), answer
    assert not ecs.calls


def test_f30_many_variables_reach_the_build_though_ecs_would_not_take_them(builds, ecs):
    ecs.fates.append(PLAYED)
    variables = {f"NAME_{number}": "x" * 600 for number in range(100)}
    text = "\n".join(f"{name}={value}" for name, value in variables.items())
    asked = {"projectId": builds.project["id"], "envVars": text}
    assert builds.api.post("/api/deployments", asked).status_code == 201
    work_off(builds.app)
    (task,) = ecs.tasks.values()
    assert len(json.dumps(task.request["overrides"])) < 500
    assert builds.agent_of(task).order["env"] == variables
