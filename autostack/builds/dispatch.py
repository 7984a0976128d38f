"""Handing deployments to the queue whose workers build them."""

from __future__ import annotations

import uuid

from sqlalchemy import func, update

from autostack.deployments.models import Deployment
from autostack.extensions import db
from autostack.queue import BUILDS, enqueue

JOB = "autostack.builds.jobs.start_build"


def enqueue_build(deployment_id: uuid.UUID) -> None:
    """Have a builder take the deployment, and remember that the queue was told. Commits.

    A crash in between, or a Redis that is away, leaves the mark out: the sweep tells the queue again.
    """
    if enqueue(BUILDS, JOB, str(deployment_id)):
        db.session.execute(update(Deployment).where(Deployment.id == deployment_id).values(enqueued_at=func.now()))
        db.session.commit()
