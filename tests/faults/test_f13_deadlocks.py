"""13. Deadlocks: there are none, for everybody takes locks in one order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from autostack.builds import service
from autostack.deployments.logs import Line
from autostack.extensions import db
from tests.builders import open_agent
from tests.faults.watching import wait_for


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
        assert answer.result(30).status_code == status
