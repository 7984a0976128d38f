"""The way of a build on ECS, against a server that speaks its API and really starts the agent."""

from __future__ import annotations

import pytest

from autostack.builds import sweep
from autostack.extensions import db, redis
from tests.builds_on_ecs import agent_of, shown, start
from tests.faults.watching import wait_for
from tests.jobs import work_off
from tests.log_lines import recorded
from tests.peers.ecs import PLAYED

IN_TRANSACTION = db.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
)


def test_a_deployment_is_built_by_a_task_on_ecs_and_holds_no_worker(ecs_app, ecs, ecs_api, deploy_on_ecs):
    deployment = deploy_on_ecs()
    assert "launch_builds" in work_off(ecs_app)
    # Whatever the agent does from here on, no job waits for it.
    wait_for(lambda: "publish" in work_off(ecs_app))
    ended = shown(ecs_api, deployment)
    assert ended["status"] == "success", ended["logs"]
    assert any("Cloning" in line for line in ended["logs"])
    assert ecs.calls == {"RunTask": 1}


def test_a_deployment_that_ecs_has_taken_says_what_it_waits_for(ecs_app, ecs, ecs_api, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    deployment = deploy_on_ecs()
    work_off(ecs_app)
    waiting = shown(ecs_api, deployment)
    assert (waiting["status"], waiting["reason"]) == ("queued", "Waiting for a machine to start on ECS")


def test_a_deployment_that_the_queue_forgot_is_started_by_the_sweep(ecs_app, ecs, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    deploy_on_ecs()
    with ecs_app.app_context():
        redis().flushall()
        sweep.enqueue_forgotten()
    work_off(ecs_app)
    assert len(ecs.tasks) == 1


def test_a_build_that_its_agent_ended_costs_one_call_of_ecs(ecs_app, ecs, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    deploy_on_ecs()
    work_off(ecs_app)
    agent = agent_of(ecs_app, *ecs.tasks.values())
    agent.say("Building…")
    with ecs_app.app_context():
        sweep.sweep()
    agent.finish("failed", "no")
    with ecs_app.app_context():
        sweep.sweep()
    assert ecs.calls == {"RunTask": 1}


def test_no_transaction_is_open_as_long_as_aws_takes(ecs_app, ecs, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    seen = []

    def look(operation):
        with ecs_app.app_context(), db.engine.connect() as other:
            seen.append((operation, other.scalar(IN_TRANSACTION)))

    ecs.meanwhile = look
    deploy_on_ecs()
    work_off(ecs_app)
    (task,) = ecs.tasks.values()
    ecs.interrupt(task)
    with ecs_app.app_context():
        for _ in range(2):
            sweep.sweep()
    assert set(seen) == {("RunTask", 0), ("DescribeTasks", 0), ("GetLogEvents", 0)}


def test_no_log_has_the_token_that_a_task_is_given(ecs_app, ecs, deploy_on_ecs):
    ecs.fates.append(PLAYED)
    with recorded(ecs_app.config["AUTOSTACK"].model_copy(update={"log_level": "debug"})) as found:
        deploy_on_ecs()
        work_off(ecs_app)
    (task,) = ecs.tasks.values()
    text = found.stream.getvalue()
    assert task.arn in text
    assert task.environment["AUTOSTACK_BOOTSTRAP_TOKEN"] not in text


@pytest.mark.parametrize(
    ("size", "build_mib", "build_gib"), [("1024/4096", 4096 - 512, 20 - 5), ("256/512/50", 256, 50 - 5)]
)
def test_a_build_may_use_what_its_task_has_but_for_what_the_agent_needs(
    make_app, ecs, alice, size, build_mib, build_gib
):
    app = make_app(**ecs.settings(), ecs_sizes=size)
    start(app, ecs, alice, 1)
    agent = agent_of(app, *ecs.tasks.values())
    limits = agent.order["limits"]
    assert (limits["maxMemoryBytes"], limits["maxDiskBytes"]) == (build_mib * 2**20, build_gib * 2**30)
