"""What tests of builds on ECS share: deployments that wait, attempts, and the agents of tasks that were started."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from sqlalchemy import update

from autostack.builds import launching
from autostack.builds.models import BuildAttempt
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db
from tests.builders import Agent
from tests.deployments import a_deployment, a_project
from tests.peers.ecs import PLAYED, EcsPeer, Task
from tests.people import Api, Person


def queue_up(app: Flask, owner: Person, builds: int) -> list[uuid.UUID]:
    """Store deployments that wait, each of a branch of its own; return their ids."""
    with app.app_context():
        project_id = a_project(owner, f"of-{owner.name.lower()}")
        now = datetime.now(UTC)
        ids = [a_deployment(owner, project_id, now, Status.QUEUED) for _ in range(builds)]
        snapshot = {"repository": "https://git.example.com/site"}
        db.session.execute(update(Deployment).where(Deployment.id.in_(ids)).values(snapshot=snapshot))
        db.session.commit()
        return ids


def start(app: Flask, ecs: EcsPeer, owner: Person, builds: int) -> list[uuid.UUID]:
    """Have deployments started whose agents the test plays; return their ids."""
    ecs.fates.extend([PLAYED] * builds)
    ids = queue_up(app, owner, builds)
    with app.app_context():
        launching.start_some()
    return ids


def change_attempts(**values: Any) -> None:
    """Have all attempts be as they would be after a while. Commits."""
    db.session.execute(update(BuildAttempt).values(values))
    db.session.commit()


def agent_of(app: Flask, task: Task) -> Agent:
    """Return the agent of a task, with its order."""
    agent = Agent(app, uuid.UUID(task.environment["AUTOSTACK_ATTEMPT"]), task.environment["AUTOSTACK_BOOTSTRAP_TOKEN"])
    agent.fetch_order()
    return agent


def running(ecs: EcsPeer) -> list[Task]:
    """Return the tasks that run."""
    return [task for task in ecs.tasks.values() if task.status == "RUNNING"]


def shown(api: Api, deployment: dict[str, Any]) -> dict[str, Any]:
    """Return a deployment as its owner sees it now."""
    found: dict[str, Any] = api.get(f"/api/deployments/{deployment['id']}").json
    return found
