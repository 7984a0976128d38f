"""8. Redis gone for 30 s mid-build → the final state is right, log lines are all there."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from contextlib import contextmanager

import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError

from autostack.local import binaries, child
from tests.chaos import Chaos
from tests.faults.watching import attempts, building, environment_of, wait_for
from tests.s3 import free_port
from tests.stack import running_stack

pytestmark = pytest.mark.slow

GONE_S = 30
# RQ's workers speak to Redis every 30 s while a job goes on: the longer builds go on beyond that.
SHORT_S, LONG_S = 10, 40


@contextmanager
def redis_on_a_port(folder):
    port = free_port()
    command = [binaries.valkey(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with (folder / "valkey.log").open("wb") as output:
        process = child.start(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: _answers(port))
        yield port
    finally:
        child.end_group(process.pid)
        process.wait()


def _answers(port):
    try:
        return Redis(port=port).ping()
    except RedisError:
        return False


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    with redis_on_a_port(tmp_path_factory.mktemp("valkey")) as port, Chaos(port) as chaos:
        yield chaos


@pytest.fixture(scope="module")
def stack(tmp_path_factory, chaos):
    environment = {"REDIS_URL": f"redis://127.0.0.1:{chaos.port}/0"}
    with running_stack(tmp_path_factory.mktemp("stack"), env=environment) as running:
        running.sign_up()
        yield running


def _refuse(chaos):
    chaos.refuse()


def _stall(chaos):
    chaos.stall()


@pytest.mark.parametrize(
    ("away", "seconds"),
    [(_stall, SHORT_S), (_refuse, LONG_S), (_stall, LONG_S)],
)
def test_f08_a_build_outlives_redis(stack, chaos, slow_repository, away, seconds):
    url, _ = slow_repository(away.__name__)
    deployment = stack.deploy(url, envVars=f"SECONDS={seconds}")
    with psycopg.connect(environment_of(stack)["DATABASE_URL"], autocommit=True) as database:
        building(stack, deployment)
        away(chaos)
        back_at = time.monotonic() + GONE_S
        while time.monotonic() < back_at:
            seen = stack.call("GET", f"/api/deployments/{deployment['id']}")
            assert seen["status"] == "building"
            time.sleep(0.5)
        chaos.heal()
        ended = stack.ended(deployment)
        made = attempts(database, deployment)
    assert ended["status"] == "success"
    assert stack.get_site(ended["url"]).text == away.__name__
    assert made == ["built"]
    lines = stack.call("GET", f"/api/deployments/{deployment['id']}/logs")["logs"]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    counted = Counter(line["message"].partition("] ")[2] for line in lines)
    spoken = [counted[f"left {number}"] for number in range(10 * seconds + 1)]
    assert spoken == [1] * len(spoken)
