"""A deployment that waits for its build, and the agent that has its order."""

from __future__ import annotations

import pytest

from tests.builders import open_agent

SITE = {"/index.html": b"<h1>hi</h1>", "/app.js": b"go()"}


@pytest.fixture
def deployment(api, project):
    return api.post("/api/deployments", {"projectId": project["id"]}).json


@pytest.fixture
def agent(app, deployment):
    """An agent that has its order."""
    opened = open_agent(app, deployment["id"])
    opened.fetch_order()
    return opened


def code(response):
    return response.status_code, (response.json or {}).get("error", {}).get("code")
