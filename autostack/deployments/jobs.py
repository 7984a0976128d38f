"""The jobs of deployments: each takes ids, may run twice, and reads as a story."""

from __future__ import annotations

import uuid

from autostack.deployments import cdn, garbage, hosts, publishing, retention
from autostack.errors import AutostackError
from autostack.extensions import store
from autostack.projects import deleted, removals


def publish(deployment_id: str) -> None:
    """Put a finished build live."""
    publishing.publish(uuid.UUID(deployment_id))


def write_routes() -> None:
    """Write every route that is behind PostgreSQL."""
    hosts.write_all()


def remove_deleted() -> None:
    """Take away rows of deleted projects and deployments, a part at a time: other jobs have their turn in between."""
    if not deleted.remove_some():
        deleted.tell_queue()


def tidy_up() -> None:
    """Have a project's old deployments deleted, and then blobs that none names any more: a while, and then the next."""
    project_id = garbage.next_due()
    if project_id is None:
        return
    try:
        with garbage.attempt(project_id):
            if retention.enforce(project_id):
                garbage.collect(project_id)
    finally:
        # Whatever this one met, it is the others' turn.
        garbage.tell_queue()


def invalidate_cdn() -> None:
    """Have the CDN forget what changed on hosts that show another deployment."""
    cdn.invalidate()


def remove_planned() -> None:
    """Remove the folders of deleted deployments and projects from the store, once no visitor is led there any more.

    Of a deployment only its list of files goes: its project's other deployments share the blobs.
    """
    prefixes = removals.planned()
    hosts.write_all()
    errors: list[AutostackError] = []
    for prefix in prefixes:
        try:
            store().delete_prefix(prefix)
        except AutostackError as error:
            # One that stays must not keep the others back.
            errors.append(error)
        else:
            removals.done(prefix)
    if errors:
        raise errors[0]
