"""The jobs of deployments: each takes ids, may run twice, and reads as a story."""

from __future__ import annotations

import uuid

from autostack.deployments import hosts, publishing
from autostack.extensions import store
from autostack.projects import removals


def publish(deployment_id: str) -> None:
    """Put a finished build live."""
    publishing.publish(uuid.UUID(deployment_id))


def remove_planned() -> None:
    """Remove the folders of deleted deployments and projects from the store, once no visitor is led there any more.

    Of a deployment only its list of files goes: its project's other deployments share the blobs.
    """
    prefixes = removals.planned()
    hosts.write_all()
    for prefix in prefixes:
        store().delete_prefix(prefix)
        removals.done(prefix)
