"""The sweep: whatever a crash, a flushed Redis or a dead worker left behind goes on, or ends with a reason."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import httpx2
import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from autostack.builds import dispatch, service
from autostack.builds.models import BuildAttempt, Outcome
from autostack.deployments import hosts, idempotency, publishing
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.errors import AutostackError
from autostack.extensions import db, settings
from autostack.projects import removals
from autostack.queue import BUILDS, CONTROL, enqueue, waiting

log = structlog.stdlib.get_logger(__name__)

# One sweep at a time, on whichever machine: the number only has to be unlike other locks'.
LOCK = 7_306_001
LOST = "The build's worker stopped answering"
PROBE_TIMEOUT_S = 5


def sweep() -> None:
    """Look once at everything in progress. A second sweep at the same time does nothing."""
    # A connection of its own holds the lock: the session's goes back to the pool with each commit.
    with db.engine.connect() as connection:
        if connection.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
            for step in (
                enqueue_forgotten,
                end_silent_attempts,
                end_left_over_attempts,
                publish_built,
                write_routes,
                remove_left_over,
                idempotency.forget_old_keys,
            ):
                _take(step)


def _take(step: Callable[[], None]) -> None:
    """Take one step; its trouble, a row that somebody holds or a store that is away, must not keep the others back."""
    try:
        step()
    except (AutostackError, SQLAlchemyError):
        db.session.rollback()
        log.exception("sweep: step failed", step=step.__name__)


def enqueue_forgotten() -> None:
    """Tell the queue of deployments that it never heard of, or that it forgot.

    A job that a worker has taken, but not yet begun, is made a second time: it will find nothing to claim.
    """
    queued = select(Deployment.id).where(Deployment.status == Status.QUEUED, Deployment.attempt_id.is_(None))
    ids = db.session.scalars(queued.order_by(Deployment.sequence)).all()
    db.session.commit()
    known = waiting(BUILDS)
    if known is None:
        return
    for deployment_id in ids:
        if str(deployment_id) not in known:
            dispatch.enqueue_build(deployment_id)


def end_silent_attempts() -> None:
    """Count for each open attempt the sweeps without a word from its agent; end those that reach the limit.

    Sweeps are counted, not hours: a clock that jumps ends nothing. Nor does a time in which web itself was down.
    """
    if not _web_answers():
        return
    heard = BuildAttempt.heartbeats != BuildAttempt.heartbeats_seen
    opened = BuildAttempt.ended_at.is_(None)
    db.session.execute(
        update(BuildAttempt).where(opened, heard).values(silent_sweeps=0, heartbeats_seen=BuildAttempt.heartbeats)
    )
    db.session.execute(update(BuildAttempt).where(opened, ~heard).values(silent_sweeps=BuildAttempt.silent_sweeps + 1))
    db.session.commit()
    for attempt_id in _silent_attempts():
        service.lose(attempt_id, LOST)


def end_left_over_attempts() -> None:
    """End open attempts of deployments that have ended without them: theirs were cancelled."""
    final = select(Deployment.id).where(Deployment.status.in_([status for status in Status if status.is_final]))
    db.session.execute(
        update(BuildAttempt)
        .where(BuildAttempt.ended_at.is_(None), BuildAttempt.deployment_id.in_(final))
        .values(outcome=Outcome.CANCELLED, ended_at=func.now())
    )
    db.session.commit()


def publish_built() -> None:
    """Have deployments published whose build is done, but whose publisher was not told, died, or met trouble.

    Sweeps are counted here, too: at the limit the deployment fails, and its hosts go back to what they showed.
    """
    publishers = waiting(CONTROL)
    if publishers is None:
        return
    most = _sweeps_in(settings().publish_timeout_s)
    for deployment_id, attempt_id, sweeps in _built_but_not_live():
        if sweeps >= most:
            publishing.give_up(deployment_id)
        elif str(deployment_id) not in publishers:
            counted = update(BuildAttempt).where(BuildAttempt.id == attempt_id)
            db.session.execute(counted.values(publish_sweeps=BuildAttempt.publish_sweeps + 1))
            db.session.commit()
            enqueue(CONTROL, service.PUBLISH, str(deployment_id))


def write_routes() -> None:
    """Write the routes that are behind PostgreSQL."""
    labels = hosts.unwritten()
    if labels:
        hosts.write(labels)


def remove_left_over() -> None:
    """Have folders of deleted owners removed, if the queue was not told of it, or forgot."""
    if removals.is_overdue():
        removals.tell_queue()


def _built_but_not_live() -> list[tuple[uuid.UUID, uuid.UUID, int]]:
    built = (
        select(Deployment.id, BuildAttempt.id, BuildAttempt.publish_sweeps)
        .join(BuildAttempt, BuildAttempt.id == Deployment.attempt_id)
        .where(Deployment.status.in_([Status.BUILDING, Status.DEPLOYING]), BuildAttempt.outcome == Outcome.BUILT)
        # A moment for the publisher that was told at once.
        .where(BuildAttempt.ended_at < func.now() - text("interval '10 seconds'"))
    )
    return [(row[0], row[1], row[2]) for row in db.session.execute(built)]


def _silent_attempts() -> list[uuid.UUID]:
    most = _sweeps_in(settings().heartbeat_timeout_s)
    silent = select(BuildAttempt.id).where(BuildAttempt.ended_at.is_(None), BuildAttempt.silent_sweeps >= most)
    return list(db.session.scalars(silent))


def _sweeps_in(seconds: int) -> int:
    return max(1, -(-seconds // settings().sweep_interval_s))


def _web_answers() -> bool:
    try:
        answer = httpx2.get(f"{settings().agents_reach_web_at}/healthz", timeout=PROBE_TIMEOUT_S, trust_env=False)
    except httpx2.HTTPError:
        log.warning("sweep: web does not answer, so silence of agents is not counted")
        return False
    return answer.is_success
