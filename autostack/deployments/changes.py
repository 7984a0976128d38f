"""What a deployment changed: its files beside those of the one before."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select

from autostack.deployments.models import Deployment
from autostack.deployments.service import DeploymentNotReady
from autostack.deployments.status import Status
from autostack.errors import NotFound
from autostack.extensions import db, store
from autostack.sites import keys
from autostack.sites.changes import Changes, compare
from autostack.sites.errors import ObjectNotFound
from autostack.sites.manifest import Manifest

# However many files a site has, this many are named.
MOST_FILES = 500


class FilesNotFound(NotFound):
    code = "FILES_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Since:
    """A comparison; `previous_id` is None for the first deployment of its branch."""

    previous_id: uuid.UUID | None
    changes: Changes


def since_previous(deployment: Deployment) -> Since:
    """Return what changed since the deployment of the same project and branch that succeeded before.

    Raises DeploymentNotReady unless this one succeeded, FilesNotFound if the list of files of one of them is gone.
    """
    if deployment.state is not Status.SUCCESS:
        raise DeploymentNotReady("Only a deployment that succeeded has files to compare.")
    project_id, id, previous_id = deployment.project_id, deployment.id, _previous(deployment)
    # No connection of the pool waits with us for the store.
    db.session.rollback()
    before = _manifest(project_id, previous_id).files if previous_id else {}
    return Since(previous_id, compare(before, _manifest(project_id, id).files, MOST_FILES))


def _previous(deployment: Deployment) -> uuid.UUID | None:
    earlier = select(Deployment.id).where(
        Deployment.project_id == deployment.project_id,
        Deployment.branch.is_not_distinct_from(deployment.branch),
        Deployment.status == Status.SUCCESS,
        Deployment.sequence < deployment.sequence,
    )
    found: uuid.UUID | None = db.session.scalar(earlier.order_by(Deployment.sequence.desc()).limit(1))
    return found


def _manifest(project_id: uuid.UUID, id: uuid.UUID) -> Manifest:
    try:
        return Manifest.from_json(store().get(keys.manifest(str(project_id), str(id))))
    except ObjectNotFound:
        raise FilesNotFound(f"The list of the files of deployment '{id}' is not stored any more.") from None
