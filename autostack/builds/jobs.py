"""The jobs of builds: each is woken by the queue, and may be woken twice."""

from __future__ import annotations

import uuid

from autostack.builds import executors, service, sweep
from autostack.extensions import settings


def start_build(deployment_id: str, attempt_id: str) -> None:
    """Open this attempt for a queued deployment and build it."""
    attempt = service.open_attempt(uuid.UUID(deployment_id), executors.LOCAL, uuid.UUID(attempt_id))
    if attempt is None:
        return
    executors.run_locally(attempt, settings())


def sweep_deployments() -> None:
    """Find what is stuck, and have it go on or end."""
    sweep.sweep()
