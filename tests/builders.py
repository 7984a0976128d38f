"""Playing a build agent against the application, call by call, as docs/agent-api.md says."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from autostack.agent.api import NONCE_HEADER
from autostack.builds import service
from autostack.deployments import jobs


@dataclass
class Agent:
    """An agent of one attempt. It uses the working token once it has its order."""

    app: Flask
    attempt_id: uuid.UUID
    token: str
    batch: int = 0
    order: dict[str, Any] = field(default_factory=dict)
    nonce: str = field(default_factory=secrets.token_urlsafe)

    def call(
        self, method: str, path: str = "", *, headers: dict[str, str] | None = None, **options: Any
    ) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        url = f"/agent/attempts/{self.attempt_id}{path}"
        return self.app.test_client(use_cookies=False).open(url, method=method, headers=headers, **options)

    def fetch_order(self) -> dict[str, Any]:
        response = self.ask_for_order()
        assert response.status_code == 200, response.text
        return self.order

    def ask_for_order(self) -> TestResponse:
        """Fetch the order if there is one: another may have ended the attempt."""
        response = self.call("GET", headers={NONCE_HEADER: self.nonce})
        if response.status_code == 200:
            self.order = response.json
            self.token = self.order["token"]
        return response

    def say(self, *texts: str, batch: int | None = None) -> TestResponse:
        self.batch = batch or self.batch + 1
        lines = [{"elapsedMs": 1000 * number, "level": "info", "text": text} for number, text in enumerate(texts)]
        return self.call("POST", "/logs", json={"batch": self.batch, "lines": lines})

    def upload(self, files: dict[str, bytes], rules: dict[str, str] | None = None) -> list[str]:
        """List the files and upload what is wanted; return the hashes of those."""
        listed = [
            {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in files.items()
        ]
        response = self.call("POST", "/files", json={"files": listed, "rules": rules or {}})
        assert response.status_code == 200, response.text
        by_hash = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        wanted = [upload["sha256"] for upload in response.json["uploads"]]
        for sha256 in wanted:
            assert self.call("PUT", f"/blobs/{sha256}", data=by_hash[sha256]).status_code == 204
        return wanted

    def finish(self, outcome: str = "built", reason: str | None = None) -> TestResponse:
        return self.call("POST", "/finish", json={"outcome": outcome, "reason": reason})


def open_agent(app: Flask, deployment_id: str) -> Agent | None:
    """Claim a deployment as a builder does; None if it cannot be claimed."""
    with app.app_context():
        opened = service.open_attempt(uuid.UUID(deployment_id), "local")
    return Agent(app, opened.id, opened.bootstrap_token) if opened else None


def build(app: Flask, deployment_id: str, files: dict[str, bytes], rules: dict[str, str] | None = None) -> Agent:
    """Build a deployment as an agent does, up to the end of its attempt."""
    agent = open_agent(app, deployment_id)
    assert agent is not None
    agent.fetch_order()
    agent.say("Building…")
    agent.upload(files, rules)
    assert agent.finish().status_code == 204
    return agent


def publish(app: Flask, deployment_id: str) -> None:
    """Run the job that puts a finished build live."""
    with app.app_context():
        jobs.publish(deployment_id)
