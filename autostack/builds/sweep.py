"""The sweep: whatever a crash, a flushed Redis or a dead worker left behind goes on, or ends with a reason."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import httpx2
import structlog
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from autostack.accounts import deletions
from autostack.builds import dispatch, launching, service, tasks
from autostack.builds.models import ECS, BuildAttempt, Outcome
from autostack.builds.tasks import sweeps_in
from autostack.database import session_lock
from autostack.deployments import cdn, drafts, garbage, hosts, idempotency, publishing
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.domains import service as domains
from autostack.errors import AutostackError
from autostack.extensions import db, settings
from autostack.github import revocations
from autostack.hiding import table_of
from autostack.projects import deleted, removals
from autostack.projects.models import DELETED
from autostack.queue import BUILDS, CONTROL, enqueue, waiting
from autostack.traffic import budgets, gathering

log = structlog.stdlib.get_logger(__name__)

# One sweep at a time, on whichever machine: the number only has to be unlike other locks'.
LOCK = 7_306_001
CHECK_DOMAINS = "autostack.domains.jobs.check_due"
LOST = "The build's worker stopped answering"
PROBE_TIMEOUT_S = 5

_attempts, _deployments = table_of(BuildAttempt), table_of(Deployment)


def sweep() -> None:
    """Look once at everything in progress. A second sweep at the same time does nothing."""
    with session_lock(LOCK, waits=False) as is_ours:
        for step in _steps() if is_ours else ():
            _take(step)


def _steps() -> Sequence[Callable[[], None]]:
    return (
        enqueue_forgotten,
        end_silent_attempts,
        tasks.look_after,
        end_left_over_attempts,
        tasks.stop_ended,
        tasks.stop_lingering,
        publish_built,
        write_routes,
        cdn.tell_queue,
        check_domains,
        delete_closed_accounts,
        remove_left_over,
        revoke_tokens,
        idempotency.forget_old_keys,
        drafts.forget_old,
        gathering.gather,
        gathering.forget_old,
        budgets.tell_proxies,
        tidy_up,
    )


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
    if settings().builds_on_ecs:
        _tell_launcher_if_needed()
        return
    queued = select(Deployment.id).where(Deployment.status == Status.QUEUED, Deployment.attempt_id.is_(None))
    ids = db.session.scalars(queued.order_by(Deployment.sequence)).all()
    db.session.commit()
    known = waiting(BUILDS)
    if known is None:
        return
    for deployment_id in ids:
        if str(deployment_id) not in known:
            dispatch.enqueue_build(deployment_id)


def _tell_launcher_if_needed() -> None:
    if launching.anything_waits():
        dispatch.tell_launcher()


def end_silent_attempts() -> None:
    """Count for each open attempt the sweeps without a word from its agent; end those that reach the limit.

    Sweeps are counted, not hours: a clock that jumps ends nothing. Nor does a time in which web itself was down.
    """
    if not _web_answers():
        return
    heard = BuildAttempt.heartbeats != BuildAttempt.heartbeats_seen
    opened = BuildAttempt.ended_at.is_(None)
    one_more = {"sweeps": BuildAttempt.sweeps + 1}
    # First those that were not heard: to the second statement, the first's rows are as they were.
    silent = {"silent_sweeps": BuildAttempt.silent_sweeps + 1}
    db.session.execute(update(BuildAttempt).where(opened, ~heard).values(**silent, **one_more))
    again = {"silent_sweeps": 0, "heartbeats_seen": BuildAttempt.heartbeats}
    db.session.execute(update(BuildAttempt).where(opened, heard).values(**again, **one_more))
    db.session.commit()
    for attempt_id, heartbeats in _silent_attempts():
        service.lose(attempt_id, LOST, heartbeats=heartbeats)


def end_left_over_attempts() -> None:
    """End open attempts of deployments that have ended without them: theirs were cancelled, or deleted."""
    ended = _deployments.c.status.in_([status for status in Status if status.is_final])
    left = select(_deployments.c.id).where(ended | _deployments.c.project_id.in_(DELETED))
    open_still = _attempts.c.ended_at.is_(None) & _attempts.c.deployment_id.in_(left)
    # A job does this beside the sweep: one that waits for a row that another holds must hold none itself.
    free = select(_attempts.c.id).where(open_still).order_by(_attempts.c.id).with_for_update(skip_locked=True)
    cancelled = update(_attempts).where(_attempts.c.id.in_(db.session.scalars(free).all()))
    db.session.execute(cancelled.values(outcome=Outcome.CANCELLED, ended_at=func.now()))
    db.session.commit()


def publish_built() -> None:
    """Have deployments published whose build is done, but whose publisher was not told, died, or met trouble.

    Sweeps are counted here, too: at the limit the deployment fails, and its hosts go back to what they showed.
    """
    publishers = waiting(CONTROL)
    if publishers is None:
        return
    most = sweeps_in(settings().publish_timeout_s)
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


def check_domains() -> None:
    """Have DNS asked again about domains that are due. DNS may take its time: that is for a job of its own."""
    told = waiting(CONTROL)
    if told is not None and CHECK_DOMAINS.rpartition(".")[2] not in told and domains.are_due():
        enqueue(CONTROL, CHECK_DOMAINS)


def remove_left_over() -> None:
    """Have folders and rows of deleted owners removed, if the queue was not told of it, or forgot."""
    if removals.is_overdue():
        removals.tell_queue()
    if deleted.are_overdue():
        deleted.tell_queue()


def delete_closed_accounts() -> None:
    """Have accounts deleted whose owners asked for it, if the queue was not told of it, forgot, or died of it."""
    if deletions.are_overdue():
        deletions.tell_queue()


def tidy_up() -> None:
    """Have old deployments and garbage deleted where that is due."""
    if garbage.next_due() is not None:
        garbage.tell_queue()


def revoke_tokens() -> None:
    """Have GitHub take back tokens that it did not when it was asked before, if it was."""
    if revocations.are_due():
        revocations.tell_queue()


def _built_but_not_live() -> list[tuple[uuid.UUID, uuid.UUID, int]]:
    built = (
        select(Deployment.id, BuildAttempt.id, BuildAttempt.publish_sweeps)
        .join(BuildAttempt, BuildAttempt.id == Deployment.attempt_id)
        .where(Deployment.status.in_([Status.BUILDING, Status.DEPLOYING]), BuildAttempt.outcome == Outcome.BUILT)
        # A moment for the publisher that was told at once.
        .where(BuildAttempt.ended_at < func.now() - text("interval '10 seconds'"))
    )
    return [(row[0], row[1], row[2]) for row in db.session.execute(built)]


def _silent_attempts() -> list[tuple[uuid.UUID, int]]:
    most = sweeps_in(settings().heartbeat_timeout_s)
    opened = select(BuildAttempt.id, BuildAttempt.heartbeats).where(BuildAttempt.ended_at.is_(None))
    silent = opened.where(BuildAttempt.silent_sweeps >= most)
    if settings().builds_on_ecs:
        # ECS is asked about its own tasks (see `tasks`), of which one may have ended before ECS told of it.
        ended_unknown = BuildAttempt.task.is_(None) & BuildAttempt.token_hash.is_not(None)
        silent = silent.where(or_(BuildAttempt.executor != ECS, ended_unknown))
    return [(row.id, row.heartbeats) for row in db.session.execute(silent)]


def _web_answers() -> bool:
    try:
        answer = httpx2.get(f"{settings().agents_reach_web_at}/healthz", timeout=PROBE_TIMEOUT_S, trust_env=False)
    except httpx2.HTTPError:
        log.warning("sweep: web does not answer, so silence of agents is not counted")
        return False
    return answer.is_success
