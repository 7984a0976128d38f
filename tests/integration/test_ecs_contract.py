"""What we ask of ECS and CloudWatch Logs, asked of moto's server, which checks requests as AWS's model has them."""

from __future__ import annotations

import time
import uuid

import pytest

from autostack.builds.ecs import Ecs, Started
from autostack.builds.ecs_request import Launch, run_task
from tests.moto_server import KEYS, running_moto

GROUP = "/autostack/builds"


@pytest.fixture(scope="module")
def aws():
    with running_moto() as moto:
        yield moto.client


@pytest.fixture
def settings(aws, make_settings, monkeypatch):
    endpoint = aws("ecs").meta.endpoint_url
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", endpoint)
    network = aws("ec2")
    subnet = network.describe_subnets()["Subnets"][0]
    groups = network.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}])
    aws("ecs").create_cluster(clusterName="builds", capacityProviders=["FARGATE", "FARGATE_SPOT"])
    aws("ecs").register_task_definition(
        family="autostack-builder",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="1024",
        memory="4096",
        # Moto adds up what containers ask for.
        containerDefinitions=[{"name": "builder", "image": "autostack-builder", "memory": 4096}],
    )
    names = {"ecs_cluster": "builds", "ecs_task_definition": "autostack-builder", "ecs_log_group": GROUP}
    places = {"ecs_subnets": subnet["SubnetId"], "ecs_security_groups": groups["SecurityGroups"][0]["GroupId"]}
    return make_settings(build_executor="ecs", **names, **places, **KEYS)


def test_a_task_is_started_found_described_and_stopped(settings):
    ecs = Ecs(settings)
    launch = Launch(uuid.uuid4(), uuid.uuid4(), 1, 0, "one-shot")
    started = ecs.start(run_task(launch, settings))
    assert isinstance(started, Started), started
    assert ecs.find(launch.attempt_id) == started.task
    gone = started.task[:-4] + "0000"
    # Of tasks that it does not know, moto says nothing where AWS says MISSING.
    task = ecs.describe([started.task, gone])[started.task]
    assert task["startedBy"] == str(launch.attempt_id)
    (container,) = task["overrides"]["containerOverrides"]
    assert {"name": "AUTOSTACK_BOOTSTRAP_TOKEN", "value": "one-shot"} in container["environment"]
    ecs.stop(started.task, "The deployment was cancelled")
    assert ecs.describe([started.task])[started.task]["lastStatus"] == "STOPPED"


def test_the_last_lines_of_a_task_are_read_from_its_log_stream(settings, aws):
    logs, stream = aws("logs"), "builds/builder/0123456789abcdef"
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    # Within the time that CloudWatch takes events of.
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms + number, "message": f"line {number}"} for number in range(30)]
    logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)
    ecs = Ecs(settings)
    assert ecs.last_lines("arn:aws:ecs:us-east-1:1:task/builds/0123456789abcdef") == [
        f"line {n}" for n in range(10, 30)
    ]
    assert ecs.last_lines("arn:aws:ecs:us-east-1:1:task/builds/unknown") == []
