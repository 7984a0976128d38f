"""11. PostgreSQL restarted mid-build → state is written once, connections recover."""

from __future__ import annotations

import signal
from collections import Counter

import psycopg
import pytest

from tests.faults.watching import attempts, building, ended_in_spite, environment_of, postgres, wait_for

pytestmark = pytest.mark.slow


def answers(stack):
    try:
        with psycopg.connect(environment_of(stack)["DATABASE_URL"], connect_timeout=10) as connection:
            return connection.execute("SELECT pg_postmaster_start_time()").fetchone()[0]
    except psycopg.OperationalError:
        return None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_f11_a_build_goes_on_over_a_restart_of_postgres(stack, slow_repository, how):
    url, _ = slow_repository()
    project = stack.call("POST", "/api/projects", {"name": f"r-{how}", "repository": url, "envVars": "SECONDS=6"}, 201)
    deployment = stack.call("POST", "/api/deployments", {"projectId": project["id"]}, 201)
    building(stack, deployment)
    began = answers(stack)
    postgres(stack).send_signal(how)
    wait_for(lambda: answers(stack) not in (None, began))
    # The first connection of each process that is used again may still be one to the old server.
    ended = ended_in_spite(stack, deployment)
    assert (ended["status"], stack.get_site(ended["url"]).text) == ("success", "built")
    with psycopg.connect(environment_of(stack)["DATABASE_URL"]) as database:
        assert attempts(database, deployment) == ["built"]
    logs = stack.call("GET", f"/api/deployments/{deployment['id']}/logs")["logs"]
    said = Counter(line["message"].partition("] ")[2] for line in logs)
    assert {f"left {number}": said[f"left {number}"] for number in range(61)} == {f"left {n}": 1 for n in range(61)}
    assert [line["seq"] for line in logs] == list(range(1, len(logs) + 1))
    assert {stage["name"]: stage["status"] for stage in ended["stages"]}["Success"] == "completed"
