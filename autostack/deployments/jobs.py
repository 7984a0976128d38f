"""The jobs of deployments: each takes ids, may run twice, and reads as a story."""

from __future__ import annotations

import uuid

from autostack.deployments import hosts, publishing
from autostack.extensions import store
from autostack.sites import keys


def publish(deployment_id: str) -> None:
    """Put a finished build live."""
    publishing.publish(uuid.UUID(deployment_id))


def remove_deployment(project_id: str, deployment_id: str) -> None:
    """Delete what the store has of one deployment. Blobs stay: other deployments share them."""
    store().delete_prefix(keys.deployment(project_id, deployment_id))


def remove_project(project_id: str) -> None:
    """Take a deleted project's sites off the air, then delete all that the store has of it."""
    hosts.write(hosts.unwritten())
    store().delete_prefix(keys.project(project_id))
