"""The moves of a deployment from state to state, each one conditional write, with its stages and its log line."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update

from autostack.deployments import events
from autostack.deployments.models import Deployment, DeploymentStage
from autostack.deployments.status import StageStatus, Status, sources_of
from autostack.extensions import db

QUEUED, BUILDING, DEPLOYING, END = range(4)
POSITIONS = {Status.QUEUED: QUEUED, Status.BUILDING: BUILDING, Status.DEPLOYING: DEPLOYING}
NAMES = {QUEUED: "Queued", BUILDING: "Building", DEPLOYING: "Deploying"}


def first_stages(deployment_id: uuid.UUID, now: datetime) -> list[DeploymentStage]:
    """Return the stages of a new deployment: the first has begun, the others wait."""
    stages = [
        DeploymentStage(deployment_id=deployment_id, position=position, stage_name=name)
        for position, name in (*NAMES.items(), (END, "Success"))
    ]
    stages[QUEUED].status = StageStatus.IN_PROGRESS
    stages[QUEUED].started_at = now
    return stages


def move(
    deployment_id: uuid.UUID, target: Status, *, attempt_id: uuid.UUID | None = None, reason: str | None = None
) -> bool:
    """Move a deployment to `target` if its state allows it, and if `attempt_id` (where given) is still the current one.

    True if this call moved it: of two that try, one does. The caller commits.
    """
    allowed = update(Deployment).where(Deployment.id == deployment_id, Deployment.status.in_(sources_of(target)))
    if attempt_id is not None:
        allowed = allowed.where(Deployment.attempt_id == attempt_id)
    owner = db.session.scalar(allowed.values(_columns(target, reason)).returning(Deployment.user_id))
    if owner is None:
        return False
    _advance_stages(deployment_id, target, reason)
    events.changed(deployment_id)
    events.outdated(owner)
    events.note("deployment moved", deployment_id=str(deployment_id), status=target.value, reason=reason)
    return True


def _columns(target: Status, reason: str | None) -> dict[str, Any]:
    columns: dict[str, Any] = {"status": target, "reason": reason}
    if target is Status.QUEUED:
        columns["attempt_id"] = None
    elif target is Status.BUILDING:
        # A second attempt goes on with the first one's clock: the owner waits since then.
        columns["started_at"] = func.coalesce(Deployment.started_at, func.now())
    elif target.is_final:
        seconds = func.extract("epoch", func.now() - Deployment.started_at)
        # A clock that was set back since the start must not make the build shorter than nothing.
        columns |= {"completed_at": func.now(), "build_duration": func.greatest(0, func.round(seconds))}
    return columns


def _advance_stages(deployment_id: uuid.UUID, target: Status, reason: str | None) -> None:
    of_this = update(DeploymentStage).where(DeploymentStage.deployment_id == deployment_id)
    if target is Status.QUEUED:
        db.session.execute(
            of_this.where(DeploymentStage.position > QUEUED).values(
                status=StageStatus.PENDING, started_at=None, completed_at=None
            )
        )
        db.session.execute(
            of_this.where(DeploymentStage.position == QUEUED).values(status=StageStatus.IN_PROGRESS, completed_at=None)
        )
        return
    went_well = target in (Status.BUILDING, Status.DEPLOYING, Status.SUCCESS)
    _end_current(deployment_id, StageStatus.COMPLETED if went_well else StageStatus.FAILED, reason)
    if target.is_final:
        _end_last(deployment_id, target, reason)
    else:
        now = {"status": StageStatus.IN_PROGRESS, "started_at": func.now()}
        db.session.execute(of_this.where(DeploymentStage.position == POSITIONS[target]).values(now))


def _end_current(deployment_id: uuid.UUID, status: StageStatus, reason: str | None) -> None:
    db.session.execute(
        update(DeploymentStage)
        .where(DeploymentStage.deployment_id == deployment_id, DeploymentStage.status == StageStatus.IN_PROGRESS)
        .values(
            status=status,
            completed_at=func.now(),
            error_message=reason if status is StageStatus.FAILED else None,
        )
    )


def _end_last(deployment_id: uuid.UUID, target: Status, reason: str | None) -> None:
    status = StageStatus.FAILED if target is Status.FAILED else StageStatus.COMPLETED
    db.session.execute(
        update(DeploymentStage)
        .where(DeploymentStage.deployment_id == deployment_id, DeploymentStage.position == END)
        .values(
            stage_name=target.capitalize(),
            status=status,
            started_at=func.now(),
            completed_at=func.now(),
            error_message=reason,
        )
    )


def locked(deployment_id: uuid.UUID) -> Deployment | None:
    """Return a deployment with its row locked until the transaction ends; None if there is none."""
    found: Deployment | None = db.session.scalar(
        select(Deployment)
        .where(Deployment.id == deployment_id)
        .with_for_update(of=Deployment)
        .execution_options(populate_existing=True)
    )
    return found
