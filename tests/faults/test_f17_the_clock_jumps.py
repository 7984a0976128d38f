"""17. The clock jumps by an hour → no mass expiry of builds.

Nobody may set this machine's clock for a test. That it is an hour later is, to every program, that all times which were
written down are an hour older: in PostgreSQL and in Valkey. So those are moved, under a running Autostack.
"""

from __future__ import annotations

import signal

import pytest
from rq import Queue
from rq.registry import clean_registries

from tests.faults.watching import ENDLESS, attempts, building, user_processes, wait_for
from tests.stack import running_stack

pytestmark = pytest.mark.slow

# One more than there are builders.
BUILDS = (ENDLESS, ENDLESS, "SECONDS=0")
SWEEPS = 3
HOUR_S = 3600
SWEPT = "SELECT min(sweeps) FROM build_attempts WHERE ended_at IS NULL"
NEGATIVE = "SELECT build_duration FROM deployments WHERE id = %s AND build_duration < 0"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    # A build's own time-out is short of the jump, so that RQ's idea of a job's end is, too.
    environment = {"BUILD_TIMEOUT": "600000"}
    with running_stack(tmp_path_factory.mktemp("stack"), env=environment) as running:
        running.sign_up()
        yield running


def _jump(database, redis, by_s):
    """Have everything that was written down look as it does when the clock has jumped."""
    times = database.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'timestamp with time zone'"
    ).fetchall()
    assert ("build_attempts", "created_at") in times
    for table, column in times:
        with database.transaction():
            # Rows are locked in another order by who writes at the same moment.
            database.execute(f'LOCK TABLE "{table}" IN EXCLUSIVE MODE')
            database.execute(f'UPDATE "{table}" SET "{column}" = "{column}" - make_interval(secs => %s)', [by_s])
    registries = [key for key in redis.keys("rq:*") if redis.type(key) == b"zset"]
    assert registries
    for key in registries:
        for member, _ in redis.zscan_iter(key):
            redis.zincrby(key, -by_s, member)
    # RQ's workers keep house every ten minutes: at once, by a clock that has jumped.
    for queue in ("builds", "control"):
        clean_registries(Queue(queue, connection=redis))


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S])
def test_f17_builds_go_on_when_the_clock_jumps(stack, database, redis, slow_repository, by_s):
    url, _ = slow_repository()
    deployments = []
    for number, variables in enumerate(BUILDS):
        project = {"name": f"jump-{number}-{by_s}", "repository": url, "envVars": variables}
        made = stack.call("POST", "/api/projects", project, 201)
        deployments.append(stack.call("POST", "/api/deployments", {"projectId": made["id"]}, 201))
    for deployment in deployments[:2]:
        building(stack, deployment)
    _jump(database, redis, by_s)
    swept = database.execute(SWEPT).fetchone()[0]
    wait_for(lambda: database.execute(SWEPT).fetchone()[0] >= swept + SWEEPS)
    for build in user_processes(stack):
        build.send_signal(signal.SIGUSR2)
    for deployment in deployments:
        ended = stack.ended(deployment)
        assert ended["status"] == "success"
        assert attempts(database, deployment) == ["built"]
        assert stack.get_site(ended["url"]).text == "built"
        assert database.execute(NEGATIVE, [deployment["id"]]).fetchall() == []
