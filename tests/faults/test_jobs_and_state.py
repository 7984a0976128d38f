"""Rows on jobs and state, provoked in a running Autostack: killed processes, a flushed Redis, doubled jobs."""

from __future__ import annotations

import signal
import uuid
from concurrent.futures import ThreadPoolExecutor

from rq import Queue

from tests.faults.watching import ENDLESS, attempts, builder_of, building, ended_in_spite, postgres, speaking, wait_for
from tests.stack import FINAL

START_BUILD = "autostack.builds.jobs.start_build"


def enqueue_again(redis, deployment):
    Queue("builds", connection=redis).enqueue(START_BUILD, deployment["id"], str(uuid.uuid4()))


def test_f01_a_deployment_that_was_never_enqueued_is_built_exactly_once(stack, database, redis, slow_repository):
    url, _ = slow_repository()
    first = stack.ended(stack.deploy(url, envVars="SECONDS=0"))
    # A crash between commit and enqueue leaves just this: a queued row that no queue has heard of.
    with database.transaction():
        database.execute(
            "UPDATE deployments SET status = 'queued', attempt_id = NULL, started_at = NULL,"
            " completed_at = NULL WHERE id = %s",
            [first["id"]],
        )
        database.execute("DELETE FROM build_attempts WHERE deployment_id = %s", [first["id"]])
    assert stack.ended(first)["status"] == "success"
    assert attempts(database, first) == ["built"]


def test_f02_a_job_that_is_enqueued_again_makes_no_second_attempt(stack, database, redis, slow_repository):
    deployment = stack.deploy(slow_repository()[0], envVars="SECONDS=1")
    enqueue_again(redis, deployment)
    assert stack.ended(deployment)["status"] == "success"
    assert attempts(database, deployment) == ["built"]


def test_f03_a_worker_that_is_killed_takes_its_sandbox_along_and_the_build_is_made_again(
    stack, database, slow_repository
):
    url, repository = slow_repository()
    deployment = stack.deploy(url, envVars=ENDLESS)
    build = building(stack, deployment)
    repository.commit({"seconds": "1"})
    worker, horse = builder_of(build)
    worker.kill()
    wait_for(lambda: not build.is_running() and not horse.is_running())
    assert stack.ended(deployment)["status"] == "success"
    assert attempts(database, deployment) == ["lost", "built"]


def test_f04_a_work_horse_that_is_killed_fails_its_build_with_that_reason(stack, database, slow_repository):
    deployment = stack.deploy(slow_repository()[0], envVars=ENDLESS)
    build = building(stack, deployment)
    builder_of(build)[1].kill()
    ended = stack.ended(deployment)
    assert ended["status"] == "failed"
    assert "killed (signal 9)" in ended["reason"]
    assert any("killed (signal 9)" in line for line in ended["logs"])
    wait_for(lambda: not build.is_running())


def test_f07_a_worker_that_is_told_to_end_hands_its_build_on(stack, database, slow_repository):
    url, repository = slow_repository()
    deployment = stack.deploy(url, envVars=ENDLESS)
    build = building(stack, deployment)
    repository.commit({"seconds": "1"})
    builder_of(build)[0].send_signal(signal.SIGTERM)
    wait_for(lambda: attempts(database, deployment)[:1] == ["lost"])
    assert stack.ended(deployment)["status"] == "success"
    assert attempts(database, deployment) == ["lost", "built"]


def test_f09_a_flushed_redis_loses_no_queued_deployment(stack, database, redis, slow_repository):
    url, _ = slow_repository()
    deployments = [stack.deploy(url, rootDir=None, envVars="SECONDS=2")]
    for number in range(3):
        project = {"name": f"flushed-{number}", "repository": url}
        made = stack.call("POST", "/api/projects", project, 201)
        deployments.append(stack.call("POST", "/api/deployments", {"projectId": made["id"]}, 201))
    redis.flushall()
    for deployment in deployments:
        assert stack.ended(deployment)["status"] == "success"
        assert attempts(database, deployment) == ["built"]


def test_f11_postgresql_that_is_restarted_mid_build_leaves_one_end(stack, slow_repository):
    deployment = stack.deploy(slow_repository()[0], envVars="SECONDS=4")
    speaking(stack, deployment)
    postgres(stack).send_signal(signal.SIGINT)
    ended = ended_in_spite(stack, deployment)
    assert ended["status"] == "success"
    assert [line.partition("] ")[2] for line in ended["logs"]].count("left 10") == 1


def test_f14_two_workers_that_get_one_deployment_make_one_build(stack, database, redis, slow_repository):
    deployment = stack.deploy(slow_repository()[0], envVars="SECONDS=1")
    for _ in range(3):
        enqueue_again(redis, deployment)
    assert stack.ended(deployment)["status"] == "success"
    assert attempts(database, deployment) == ["built"]


def test_f16_a_newer_push_overtakes_an_older_build_for_good(stack, slow_repository):
    url, repository = slow_repository("older")
    older = stack.deploy(url, envVars="SECONDS=4")
    speaking(stack, older)
    repository.commit({"page.html": "newer"})
    newer = stack.ended(stack.deploy(url, envVars="SECONDS=0"))
    assert stack.get_site(newer["url"]).text == "newer"
    older = stack.ended(older)
    assert older["isLive"] is False
    assert stack.get_site(newer["url"]).text == "newer"
    assert stack.get_site(older["immutableUrl"]).text == "older"


def test_f15_cancels_that_race_each_other_and_the_end_leave_one_end(stack, slow_repository):
    url, _ = slow_repository()
    for moment in ("queued", "building", "deploying"):
        deployment = stack.deploy(url, envVars="SECONDS=0")
        stack.reaches(deployment, {moment, *FINAL})
        with ThreadPoolExecutor(3) as pool:
            responses = pool.map(stack.client.post, [f"/api/deployments/{deployment['id']}/cancel"] * 3)
            answers = [response.status_code for response in responses]
        ended = stack.ended(deployment)
        assert answers.count(200) == (1 if ended["status"] == "cancelled" else 0)
        assert set(answers) <= {200, 409}
