"""What the client of ECS makes of ECS's answers, against a server that speaks its API."""

from __future__ import annotations

import uuid
from collections import deque

import pytest

from autostack.builds.ecs import Ecs, EcsUnavailable
from autostack.builds.ecs_request import Launch, run_task
from tests.peers.ecs import PLAYED, error


def test_a_task_that_ecs_has_forgotten_need_not_be_stopped(make_settings, ecs):
    client = Ecs(make_settings(**ecs.settings()))
    client.stop("arn:aws:ecs:us-east-1:000000000000:task/builds/0", "nobody needs it" * 100)
    ecs.refuse("StopTask", *[error("ServerException", 500)] * 2)
    with pytest.raises(EcsUnavailable):
        client.stop("arn:aws:ecs:us-east-1:000000000000:task/builds/0", "nobody needs it")
    # Nor does each request that ECS does not take tell of a task that has ended.
    ecs.refuse("StopTask", error("InvalidParameterException", message="The reason is too long."))
    with pytest.raises(EcsUnavailable):
        client.stop("arn:aws:ecs:us-east-1:000000000000:task/builds/0", "nobody needs it")


def test_settings_that_changed_between_two_tries_leave_one_task(make_settings, ecs):
    ecs.fates.append(PLAYED)
    launch = Launch(uuid.uuid4(), uuid.uuid4(), 1, 0, "one-shot")
    tries = [make_settings(**{**ecs.settings(), "ecs_subnets": subnet}) for subnet in ("subnet-1", "subnet-2")]
    assert len({Ecs(settings).start(run_task(launch, settings)) for settings in tries}) == len(ecs.tasks) == 1


def test_tasks_are_asked_about_in_the_cluster_that_they_were_started_in(make_settings, ecs):
    ecs.fates.extend([PLAYED] * 2)
    settings = [make_settings(**{**ecs.settings(), "ecs_cluster": name}) for name in ("old", "new")]
    launches = [Launch(uuid.uuid4(), uuid.uuid4(), 1, 0, "one-shot") for _ in range(2)]
    for each, launch in zip(settings, launches, strict=True):
        Ecs(each).start(run_task(launch, each))
    client = Ecs(settings[1])
    assert set(client.describe(list(ecs.tasks))) == set(ecs.tasks)
    for task in ecs.tasks:
        client.stop(task, "nobody needs it")
    assert len(ecs.stopped) == 2


@pytest.mark.parametrize(
    ("regions", "asked"),
    [
        ({"ecs_region": "eu-west-1", "s3_region": "eu-central-1"}, "eu-west-1"),
        ({"s3_region": "eu-north-1"}, "eu-north-1"),
    ],
)
def test_ecs_and_its_log_are_asked_in_their_own_region_else_in_that_of_the_store(make_settings, ecs, regions, asked):
    client = Ecs(make_settings(**ecs.settings(), **regions))
    client.find(uuid.uuid4())
    client.last_lines("arn:aws:ecs:us-east-1:000000000000:task/builds/0")
    assert (ecs.regions, ecs.calls["GetLogEvents"]) == ({asked}, 1)


def test_the_last_lines_of_a_task_are_looked_for_by_its_log_prefix(make_settings, ecs):
    ecs.prefix, ecs.fates = "sites", deque([PLAYED])
    settings = make_settings(**ecs.settings(), ecs_log_prefix="sites")
    launch = Launch(uuid.uuid4(), uuid.uuid4(), 1, 0, "one-shot")
    task = Ecs(settings).start(run_task(launch, settings)).task
    ecs.last_words(ecs.tasks[task], "the end")
    assert Ecs(settings).last_lines(task) == ["the end"]
