"""From a finished build to a site that every visitor gets."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select, update

from autostack.builds.models import BuildAttempt, Outcome
from autostack.builds.service import fail
from autostack.deployments import hosts, lifecycle, logs
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.errors import AutostackError
from autostack.extensions import db, settings, store
from autostack.projects import service as projects
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound
from autostack.sites.manifest import Manifest, ManifestInvalid


@dataclass(frozen=True)
class _Built:
    """What is to be published. Ids only: no transaction is open while the store works."""

    project_id: uuid.UUID
    deployment_id: uuid.UUID
    attempt_id: uuid.UUID


def publish(deployment_id: uuid.UUID) -> None:
    """Publish what a deployment's current attempt built; do nothing where there is nothing to publish any more.

    May run twice, also at once: the manifest is the same, each switch has its generation, and one run ends it.
    """
    built = _begin(deployment_id)
    if built is None:
        return
    try:
        _put_live(built)
    except AutostackError as error:
        # The sweep has it tried again, for a while.
        _note_trouble(built, error.message)
        raise


def give_up(deployment_id: uuid.UUID) -> None:
    """Fail a deployment that could not be published; its hosts go back to what they showed before. Commits.

    Their routes are for the sweep to write, as the store lets it.
    """
    project_id = db.session.scalar(select(Deployment.project_id).where(Deployment.id == deployment_id))
    if project_id is None:
        return
    projects.hold(project_id)
    deployment = lifecycle.locked(deployment_id)
    attempt = _built_attempt(deployment)
    if deployment is not None and attempt is not None and not deployment.state.is_final:
        hosts.hand_back(deployment)
        fail(deployment, f"The site could not be put live: {attempt.reason or 'its publisher did not end'}")
    db.session.commit()


def _begin(deployment_id: uuid.UUID) -> _Built | None:
    """Move a built deployment to deploying. None unless its attempt built it, and nobody ended it."""
    deployment = lifecycle.locked(deployment_id)
    attempt = _built_attempt(deployment)
    if deployment is None or attempt is None:
        db.session.rollback()
        return None
    is_due = lifecycle.move(deployment.id, Status.DEPLOYING) or deployment.state is Status.DEPLOYING
    built = _Built(deployment.project_id, deployment.id, attempt.id)
    db.session.commit()
    return built if is_due else None


def _built_attempt(deployment: Deployment | None) -> BuildAttempt | None:
    if deployment is None or deployment.attempt_id is None:
        return None
    attempt = db.session.get(BuildAttempt, deployment.attempt_id)
    return attempt if attempt is not None and attempt.outcome == Outcome.BUILT else None


def _put_live(built: _Built) -> None:
    manifest = _write_manifest(built)
    if manifest is None:
        return
    labels = _switch(built, manifest)
    if labels is None:
        return
    hosts.write(labels)
    _succeed(built.deployment_id)


def _note_trouble(built: _Built, message: str) -> None:
    db.session.rollback()
    db.session.execute(update(BuildAttempt).where(BuildAttempt.id == built.attempt_id).values(reason=message))
    db.session.commit()


def _write_manifest(built: _Built) -> Manifest | None:
    """Make the attempt's list of files the deployment's manifest. None if blobs are missing: the deployment failed."""
    project_id, id = str(built.project_id), str(built.deployment_id)
    try:
        data = store().get(keys.listing(project_id, id, str(built.attempt_id)))
        manifest = Manifest.from_json(data)
    except ObjectNotFound:
        return _refuse(built, "The build sent no list of its files")
    except ManifestInvalid as error:
        return _refuse(built, error.message)
    missing = store().missing({keys.blob(project_id, blob.sha256) for blob in manifest.blobs()})
    if missing:
        return _refuse(built, f"{len(missing)} of the site's files were not uploaded")
    store().put(keys.manifest(project_id, id), data)
    return manifest


def _refuse(built: _Built, reason: str) -> Manifest | None:
    """Fail the deployment; there is no manifest."""
    deployment = lifecycle.locked(built.deployment_id)
    if deployment is not None:
        fail(deployment, reason, built.attempt_id)
    db.session.commit()
    return None


def _switch(built: _Built, manifest: Manifest) -> list[str] | None:
    """Decide in PostgreSQL which hosts show the deployment. None if it was cancelled meanwhile."""
    projects.hold(built.project_id)
    fresh = lifecycle.locked(built.deployment_id)
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
