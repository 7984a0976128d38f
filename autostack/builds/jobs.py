"""The jobs of builds: each is woken by the queue, and may be woken twice."""

from __future__ import annotations

import uuid

from autostack.builds import dispatch, executors, launching, service, sweep, tasks
from autostack.builds.models import LOCAL
from autostack.extensions import settings


def start_build(deployment_id: str, attempt_id: str) -> None:
    """Open this attempt for a queued deployment and build it."""
    attempt = service.open_attempt(uuid.UUID(deployment_id), LOCAL, uuid.UUID(attempt_id))
    if attempt is None:
        return
    executors.run_locally(attempt, settings())


def launch_builds() -> None:
    """Have ECS start the builds whose turn it is, a part at a time: other jobs have their turn in between."""
    if launching.start_some():
        dispatch.tell_launcher()


def stop_tasks() -> None:
    """End what runs on ECS for deployments that were cancelled, and start what waited for the room."""
    sweep.end_left_over_attempts()
    tasks.stop_ended()
    dispatch.tell_of_room()


def sweep_deployments() -> None:
    """Find what is stuck, and have it go on or end."""
    sweep.sweep()
