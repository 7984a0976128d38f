"""Handing deployments to the queue whose workers build them, or have ECS build them."""

from __future__ import annotations

import uuid

from sqlalchemy import select

from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db, settings
from autostack.queue import BUILDS, CONTROL, enqueue, enqueue_once

JOB = "autostack.builds.jobs.start_build"
LAUNCH_JOB = "autostack.builds.jobs.launch_builds"
STOP_JOB = "autostack.builds.jobs.stop_tasks"


def enqueue_build(deployment_id: uuid.UUID) -> None:
    """Have a builder take the deployment. Where the queue is not told, or forgets, the sweep tells it again.

    The job knows the attempt that it may open: whatever happens to its worker happens to that one, and to no retry.
    On ECS one job starts all that wait.
    """
    if settings().builds_on_ecs:
        tell_launcher()
    else:
        enqueue(BUILDS, JOB, str(deployment_id), str(uuid.uuid4()))


def tell_launcher() -> None:
    """Have a worker start what waits for ECS, unless one is about to.

    Before all else: a hundred starts take as long as putting one site live, and hundreds may wait to go live.
    """
    enqueue_once(CONTROL, LAUNCH_JOB, at_front=True)


def tell_of_room() -> None:
    """Have what waits for others to end started, where builds are counted."""
    if not settings().builds_on_ecs:
        return
    waits = select(Deployment.id).where(Deployment.status == Status.QUEUED, Deployment.attempt_id.is_(None))
    if db.session.scalar(waits.limit(1)) is not None:
        tell_launcher()


def tell_of_cancel() -> None:
    """Have what runs for cancelled deployments ended at once, where it does not end by itself."""
    if settings().builds_on_ecs:
        enqueue_once(CONTROL, STOP_JOB)
