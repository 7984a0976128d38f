"""From a finished build to a site that every visitor gets."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from autostack.builds import artifacts
from autostack.builds.caches import Scope
from autostack.builds.models import BuildAttempt, Outcome
from autostack.builds.service import fail, scope_of
from autostack.deployments import hosts, leases, lifecycle, logs
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.errors import AutostackError
from autostack.extensions import db, settings, store
from autostack.projects import service as projects
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound
from autostack.sites.manifest import ManifestInvalid, Summary, summarize

# Blobs are deleted in much less; the sweep would have it tried again only after a while.
PATIENCE_S = 5


@dataclass(frozen=True)
class _Built:
    """What is to be published. Ids only: no transaction is open while the store works."""

    scope: Scope
    deployment_id: uuid.UUID
    attempt_id: uuid.UUID
    begun_at: datetime

    @property
    def project_id(self) -> uuid.UUID:
        return self.scope.project_id


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
    built = _Built(scope_of(attempt), deployment.id, attempt.id, attempt.created_at)
    db.session.commit()
    return built if is_due else None


def _built_attempt(deployment: Deployment | None) -> BuildAttempt | None:
    if deployment is None or deployment.attempt_id is None:
        return None
    attempt = db.session.get(BuildAttempt, deployment.attempt_id)
    return attempt if attempt is not None and attempt.outcome == Outcome.BUILT else None


def _put_live(built: _Built) -> None:
    summary = _write_manifest(built)
    if summary is None:
        return
    labels = _switch(built, summary)
    if labels is None:
        return
    hosts.write(labels)
    _succeed(built.deployment_id)


def _note_trouble(built: _Built, message: str) -> None:
    db.session.rollback()
    db.session.execute(update(BuildAttempt).where(BuildAttempt.id == built.attempt_id).values(reason=message))
    db.session.commit()


def _write_manifest(built: _Built) -> Summary | None:
    """Make the attempt's list of files the deployment's manifest. None if blobs are missing: the deployment failed."""
    project_id, id = str(built.project_id), str(built.deployment_id)
    try:
        data = store().get(keys.listing(project_id, id, str(built.attempt_id)))
        summary = summarize(data)
    except ObjectNotFound:
        return _refuse(built, "The build sent no list of its files")
    except ManifestInvalid as error:
        return _refuse(built, error.message)
    lacking = leases.undisturbed(built.project_id, lambda: _keep_if_complete(built, summary, data), PATIENCE_S)
    if lacking:
        return _refuse(built, f"{len(lacking)} of the site's files were not uploaded")
    return summary


def _keep_if_complete(built: _Built, summary: Summary, data: bytes) -> set[str]:
    # Where blobs were deleted since the build began, each is looked at again.
    was_disturbed = leases.has_been_leased_since(built.project_id, built.begun_at)
    lacking = artifacts.missing(built.scope, summary.hashes, trusting=not was_disturbed)
    if not lacking:
        store().put(keys.manifest(str(built.project_id), str(built.deployment_id)), data)
    return lacking


def _refuse(built: _Built, reason: str) -> Summary | None:
    """Fail the deployment; there is no manifest."""
    deployment = lifecycle.locked(built.deployment_id)
    if deployment is not None:
        fail(deployment, reason, built.attempt_id)
    db.session.commit()
    return None


def _switch(built: _Built, summary: Summary) -> list[str] | None:
    """Decide in PostgreSQL which hosts show the deployment. None if it was cancelled meanwhile."""
    projects.hold(built.project_id)
    fresh = lifecycle.locked(built.deployment_id)
    if fresh is None or fresh.state is not Status.DEPLOYING:
        db.session.rollback()
        return None
    fresh.file_count, fresh.total_bytes = summary.file_count, summary.total_bytes
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
