"""From a finished build to a site that every visitor gets."""

from __future__ import annotations

import uuid

from autostack.builds.models import BuildAttempt, Outcome
from autostack.builds.service import fail
from autostack.deployments import hosts, lifecycle, logs
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db, settings, store
from autostack.projects import service as projects
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound
from autostack.sites.manifest import Manifest, ManifestInvalid


def publish(deployment_id: uuid.UUID) -> None:
    """Publish what a deployment's current attempt built; do nothing where there is nothing to publish any more.

    May run twice, also at once: the manifest is the same, each switch has its generation, and one run ends it.
    """
    deployment = _begin(deployment_id)
    if deployment is None:
        return
    manifest = _write_manifest(deployment)
    if manifest is None:
        return
    labels = _switch(deployment, manifest)
    if labels is None:
        return
    hosts.write(labels)
    _succeed(deployment_id)


def _begin(deployment_id: uuid.UUID) -> Deployment | None:
    """Move a built deployment to deploying. None unless its attempt built it, and nobody ended it."""
    deployment = lifecycle.locked(deployment_id)
    attempt = db.session.get(BuildAttempt, deployment.attempt_id) if deployment and deployment.attempt_id else None
    if deployment is None or attempt is None or attempt.outcome != Outcome.BUILT:
        db.session.rollback()
        return None
    lifecycle.move(deployment.id, Status.DEPLOYING)
    db.session.commit()
    return deployment if deployment.state is Status.DEPLOYING else None


def _write_manifest(deployment: Deployment) -> Manifest | None:
    """Make the attempt's list of files the deployment's manifest. None if blobs are missing: the deployment failed."""
    project_id, id = str(deployment.project_id), str(deployment.id)
    try:
        data = store().get(keys.listing(project_id, id, str(deployment.attempt_id)))
        manifest = Manifest.from_json(data)
    except ObjectNotFound:
        return _refuse(deployment, "The build sent no list of its files")
    except ManifestInvalid as error:
        return _refuse(deployment, error.message)
    missing = store().missing({keys.blob(project_id, blob.sha256) for blob in manifest.blobs()})
    if missing:
        return _refuse(deployment, f"{len(missing)} of the site's files were not uploaded")
    store().put(keys.manifest(project_id, id), data)
    return manifest


def _refuse(deployment: Deployment, reason: str) -> Manifest | None:
    """Fail the deployment; there is no manifest."""
    fail(deployment, reason)
    db.session.commit()
    return None


def _switch(deployment: Deployment, manifest: Manifest) -> list[str] | None:
    """Decide in PostgreSQL which hosts show the deployment. None if it was cancelled meanwhile."""
    projects.hold(deployment.project_id)
    fresh = lifecycle.locked(deployment.id)
    if fresh is None or fresh.state is not Status.DEPLOYING:
        db.session.rollback()
        return None
    fresh.file_count = len(manifest.files)
    fresh.total_bytes = sum(file.size for file in manifest.files.values())
    labels = hosts.switch_for(fresh)
    db.session.commit()
    return labels


def _succeed(deployment_id: uuid.UUID) -> None:
    deployment = lifecycle.locked(deployment_id)
    if deployment is None:
        db.session.rollback()
        return
    url = hosts.addresses([deployment]).get(deployment.id, settings().site_url(deployment.label))
    if lifecycle.move(deployment.id, Status.SUCCESS):
        deployment.deployed_url = url
        logs.say(deployment, f"Deployed to {url}")
    db.session.commit()
