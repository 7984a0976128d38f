"""13. Serialization failure or deadlock → a clean error: nothing is changed, and asking again does it.

Among our own there are no deadlocks, for everybody takes locks in one order.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from flask import Flask
from sqlalchemy import text

from autostack.builds import service
from autostack.deployments.logs import Line
from autostack.extensions import db
from tests.builders import open_agent
from tests.faults.watching import wait_for
from tests.log_lines import recorded
from tests.people import Api


def somebody_waits_for_a_lock(app):
    with app.app_context(), db.engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))


@pytest.fixture
def agent(app, api, project):
    opened = open_agent(app, api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    opened.fetch_order()
    return opened


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("delete", "/api/deployments/{deploymentId}", 204),
        ("delete", "/api/projects/{projectId}", 204),
        ("post", "/api/deployments/{deploymentId}/cancel", 200),
        ("post", "/api/deployments/{deploymentId}/redeploy", 201),
    ],
)
def test_f13_an_owners_word_waits_for_the_agents_or_goes_beside_it(app, api, agent, method, path, status):
    with app.app_context(), ThreadPoolExecutor(1) as pool:
        attempt = service.speaking(agent.attempt_id, agent.token)
        answer = pool.submit(getattr(api, method), path.format(**agent.order))
        wait_for(lambda: answer.done() or somebody_waits_for_a_lock(app))
        service.store_lines(attempt, 1, [Line("said meanwhile")])
        assert answer.result(60).status_code == status


@contextmanager
def somebody_else(app) -> Iterator[psycopg.Connection]:
    """In a transaction on the application's PostgreSQL, who waits long before looking for a deadlock."""
    with app.app_context(), db.engine.connect() as connection:
        dsn = connection.connection.driver_connection.info.dsn
    with psycopg.connect(dsn, user="postgres", options="-c deadlock_timeout=10min") as other:
        yield other


@contextmanager
def set_up_with(app, make_app, setting, value) -> Iterator[Flask]:
    """The application at a PostgreSQL whose operator has set it up so."""
    with somebody_else(app) as operator:
        name = operator.info.dbname
        operator.execute(f"ALTER DATABASE {name} SET {setting} TO '{value}'")
        operator.commit()
        other = make_app()
        try:
            with other.app_context():
                assert db.session.scalar(text(f"SHOW {setting}")) == value
            yield other
        finally:
            operator.execute(f"ALTER DATABASE {name} RESET {setting}")
            operator.commit()
            with other.app_context():
                db.engine.dispose()


def was_taken_back(answered, lines, error) -> bool:
    """Tell whether an answer is the clean error for a transaction that PostgreSQL took back with `error`."""
    assert (answered.status_code, answered.json["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert "Something else was changing the same" in answered.json["error"]["message"]
    assert int(answered.headers["Retry-After"]) > 0
    return error in lines.read()


def test_f13_whose_transaction_a_deadlock_takes_back_is_told_so_and_does_it_again(app, make_app, api, alice, project):
    deployment = api.post("/api/deployments", {"projectId": project["id"]}).json
    path = f"/api/deployments/{deployment['id']}"
    # PostgreSQL looks for a deadlock once, after this time of waiting: the other is in the way by then. We wait 10 s.
    with (
        set_up_with(app, make_app, "deadlock_timeout", "8s") as asked,
        recorded(asked.config["AUTOSTACK"]) as lines,
        ThreadPoolExecutor(1) as pool,
        somebody_else(app) as other,
    ):
        other.execute("SELECT 1 FROM deployments WHERE id = %s FOR UPDATE", [deployment["id"]])
        answer = pool.submit(Api(asked, alice.token).delete, path)
        wait_for(lambda: somebody_waits_for_a_lock(app))
        # The other way round than everybody of ours.
        other.execute("SELECT 1 FROM projects WHERE id = %s FOR UPDATE", [project["id"]])
        assert was_taken_back(answer.result(60), lines, "DeadlockDetected")
    assert api.get(path).json["status"] == "queued"
    assert api.delete(path).status_code == 204


def test_f13_whose_transaction_cannot_be_serialized_is_told_so_and_does_it_again(app, make_app, alice, project):
    path, changes = f"/api/projects/{project['id']}", {"outputDir": "theirs"}
    with (
        set_up_with(app, make_app, "default_transaction_isolation", "serializable") as asked,
        recorded(asked.config["AUTOSTACK"]) as lines,
        ThreadPoolExecutor(1) as pool,
        somebody_else(app) as other,
    ):
        api = Api(asked, alice.token)
        other.execute("UPDATE projects SET output_dir = 'ours' WHERE id = %s", [project["id"]])
        answer = pool.submit(api.patch, path, changes)
        wait_for(lambda: somebody_waits_for_a_lock(app))
        other.commit()
        assert was_taken_back(answer.result(60), lines, "SerializationFailure")
        assert api.get(path).json["outputDir"] == "ours"
        assert api.patch(path, changes).json["outputDir"] == "theirs"
