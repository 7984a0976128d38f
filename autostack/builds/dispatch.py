"""Handing deployments to the queue whose workers build them."""

from __future__ import annotations

import uuid

from autostack.queue import BUILDS, enqueue

JOB = "autostack.builds.jobs.start_build"


def enqueue_build(deployment_id: uuid.UUID) -> None:
    """Have a builder take the deployment. Where the queue is not told, or forgets, the sweep tells it again.

    The job knows the attempt that it may open: whatever happens to its worker happens to that one, and to no retry.
    """
    enqueue(BUILDS, JOB, str(deployment_id), str(uuid.uuid4()))
