"""Loading a deployment and checking whose it is, in one call."""

from __future__ import annotations

import uuid

from autostack.deployments import service
from autostack.deployments.models import Deployment
from autostack.web.access import me


def require_deployment(id: uuid.UUID) -> Deployment:
    """Return the signed-in user's deployment. Raises NotFound for another's as for none, Unauthorized."""
    return service.deployment_of(me(), id)
