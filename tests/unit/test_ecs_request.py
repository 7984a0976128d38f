"""What ECS is asked for one build, and what its answers and a task's end mean."""

from __future__ import annotations

import uuid

import pytest

from autostack.builds.ecs import Halted, Later, Refused, Started, Unclear, read_answer, read_error
from autostack.builds.ecs_request import Launch, bootstrap_token, run_task
from autostack.builds.ecs_verdict import judge
from autostack.settings import MB, load_settings

ATTEMPT = uuid.UUID("11111111-2222-3333-4444-555555555555")
CAPACITY = "Capacity is unavailable at this time."
SETTINGS = {
    "build_executor": "ecs",
    "ecs_cluster": "builds",
    "ecs_task_definition": "autostack-builder:7",
    "ecs_subnets": "subnet-b, subnet-a",
    "ecs_security_groups": "sg-1",
    "agent_api_url": "https://autostack.example",
    "secret_key": "s",
}


def launch(number=1, last_site_bytes=0):
    return Launch(ATTEMPT, uuid.uuid4(), number, last_site_bytes, "one-shot")


def asked(number=1, last_site_bytes=0, **settings):
    return run_task(launch(number, last_site_bytes), load_settings(**SETTINGS, **settings))


def test_a_task_is_told_where_web_is_its_attempt_and_a_token_that_is_good_once():
    assert asked() == {
        "cluster": "builds",
        "taskDefinition": "autostack-builder:7",
        "count": 1,
        "clientToken": str(ATTEMPT),
        "startedBy": str(ATTEMPT),
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-a", "subnet-b"],
                "securityGroups": ["sg-1"],
                "assignPublicIp": "ENABLED",
            }
        },
        "overrides": {
            "cpu": "1024",
            "memory": "4096",
            "containerOverrides": [
                {
                    "name": "builder",
                    "environment": [
                        {"name": "AGENT_API_URL", "value": "https://autostack.example"},
                        {"name": "AUTOSTACK_ATTEMPT", "value": str(ATTEMPT)},
                        {"name": "AUTOSTACK_BOOTSTRAP_TOKEN", "value": "one-shot"},
                    ],
                }
            ],
        },
    }


def test_a_task_has_more_disk_where_its_size_says_so():
    sizes = "1024/4096 100=2048/8192/50"
    assert "ephemeralStorage" not in asked(ecs_sizes=sizes)["overrides"]
    large = asked(ecs_sizes=sizes, last_site_bytes=100_000_000)
    assert large["overrides"]["ephemeralStorage"] == {"sizeInGiB": 50}


def test_the_settings_say_where_and_as_what_a_task_runs():
    there = asked(ecs_container="agent", ecs_assign_public_ip=False, ecs_capacity_provider="FARGATE_SPOT")
    assert there["overrides"]["containerOverrides"][0]["name"] == "agent"
    assert there["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "DISABLED"
    assert there["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]


def test_what_was_interrupted_once_is_not_put_on_spot_machines_again():
    assert asked(number=2, ecs_capacity_provider="FARGATE_SPOT")["capacityProviderStrategy"] == [
        {"capacityProvider": "FARGATE", "weight": 1}
    ]


@pytest.mark.parametrize(("size", "cpu", "memory"), [(0, "512", "1024"), (99, "512", "1024"), (100, "2048", "8192")])
def test_a_project_with_a_large_site_gets_a_large_task(size, cpu, memory):
    overrides = asked(last_site_bytes=size * MB, ecs_sizes="512/1024 100=2048/8192")["overrides"]
    assert (overrides["cpu"], overrides["memory"]) == (cpu, memory)


def test_an_attempts_token_is_always_the_same_and_nobody_elses():
    settings, other = load_settings(**SETTINGS), load_settings(**{**SETTINGS, "secret_key": "t"})
    token = bootstrap_token(ATTEMPT, settings)
    assert token == bootstrap_token(ATTEMPT, settings)
    assert len({token, bootstrap_token(uuid.uuid4(), settings), bootstrap_token(ATTEMPT, other)}) == 3


def test_a_launch_does_not_show_its_token():
    assert "one-shot" not in repr(launch())


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ({"tasks": [{"taskArn": "arn:1"}], "failures": []}, Started("arn:1")),
        ({"failures": [{"reason": "RESOURCE:CPU"}]}, Refused("RESOURCE:CPU", False)),
        (
            {"failures": [{"reason": "Capacity is unavailable at this time."}]},
            Refused("Capacity is unavailable at this time.", True),
        ),
        ({"failures": [{"reason": "AGENT", "detail": "away"}]}, Refused("AGENT away", False)),
        ({}, Unclear("ECS answered with neither a task nor a failure")),
    ],
)
def test_an_answer_is_a_task_a_refusal_or_unclear(answer, meaning):
    assert read_answer(answer) == meaning


@pytest.mark.parametrize(
    ("code", "status", "message", "kind"),
    [
        ("ThrottlingException", 400, "Rate exceeded", Later),
        ("ServerException", 500, "", Unclear),
        ("ExpiredTokenException", 400, "expired", Halted),
        ("AccessDeniedException", 400, "not authorized", Halted),
        ("ClusterNotFoundException", 400, "Cluster not found.", Halted),
        ("InvalidParameterException", 400, "You've reached the limit on the number of vCPUs", Refused),
        ("ClientException", 400, "No Fargate configuration exists for given values.", Refused),
        ("InvalidParameterException", 400, "The overrides are too long.", Refused),
        ("ClientException", 400, "TaskDefinition not found.", Halted),
        ("InvalidParameterException", 400, "Error retrieving subnet information for [subnet-1]", Halted),
        ("ConflictException", 400, "", Unclear),
    ],
)
def test_an_error_is_unclear_a_refusal_for_now_or_for_good_or_halts_all(code, status, message, kind):
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert isinstance(read_error(response), kind)


def test_a_token_that_ecs_knows_with_other_parameters_has_its_task():
    assert read_error({"Error": {"Code": "ConflictException"}, "resourceIds": ["arn:1"]}) == Started("arn:1")


def stopped(code, reason="", **container):
    return judge(
        {
            "lastStatus": "STOPPED",
            "stopCode": code,
            "stoppedReason": reason,
            "containers": [{"name": "builder", **container}],
        },
        "builder",
    )


def test_a_task_that_has_not_ended_means_nothing():
    assert judge({"lastStatus": "DEPROVISIONING", "stopCode": "EssentialContainerExited"}, "builder") is None


@pytest.mark.parametrize(
    ("verdict", "again", "said"),
    [
        (stopped("EssentialContainerExited", exitCode=0), True, "ended unexpectedly (exit code 0)"),
        (stopped("EssentialContainerExited", exitCode=70), True, "ended unexpectedly (exit code 70)"),
        (stopped("EssentialContainerExited"), True, "The build's machine failed"),
        (stopped("EssentialContainerExited", exitCode=137, reason="OutOfMemoryError: killed"), False, "more memory"),
        (stopped("SpotInterruption"), True, "Spot interruption"),
        (stopped("UserInitiated", "by hand"), True, "was stopped: by hand"),
        (stopped("TaskFailedToStart", "CannotPullContainerError: dial tcp: i/o timeout"), True, "i/o timeout"),
        (stopped("TaskFailedToStart", "CannotPullContainerError: x: not found"), False, "not found"),
        (stopped("TaskFailedToStart", "ResourceInitializationError: context deadline exceeded"), True, "deadline"),
    ],
)
def test_a_tasks_end_says_whether_another_attempt_may_go_better(verdict, again, said):
    assert (verdict.again, said in verdict.reason) == (again, True), verdict
