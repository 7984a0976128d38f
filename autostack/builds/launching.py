"""Starting builds on ECS: whose turn it is, asking ECS, and what follows from its answer.

An attempt is opened, and committed, before ECS is asked. Whatever happens then, that attempt is asked for again with
the same token (RunTask's `clientToken`), or found again by it (`startedBy`): one attempt has one task.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, text, update

from autostack.builds import ecs_request, left_over, service
from autostack.builds.ecs import (
    CONNECTIONS,
    Answer,
    Ecs,
    EcsSilent,
    EcsUnavailable,
    Halted,
    Later,
    Refused,
    Started,
    Unclear,
    ecs,
)
from autostack.builds.ecs_request import Launch
from autostack.builds.models import ECS, BuildAttempt
from autostack.database import session_lock
from autostack.deployments import events
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db, rowcount, settings
from autostack.hiding import table_of
from autostack.settings import Settings

log = structlog.stdlib.get_logger(__name__)

# One worker at a time decides who is next, so that no limit is passed.
LOCK = 7_306_003
# One worker at a time has ECS start what was decided.
STARTS_LOCK = 7_306_004
# After so many starts other jobs have their turn.
AT_ONCE = 128
STARTING = "Waiting for a machine to start on ECS"
NO_ANSWER = "Waiting for ECS, which did not answer as it should"
NOT_NOW = "Waiting for ECS, which takes no more builds at the moment"
HALTED = "Builds cannot be started at present: Autostack's operator has to look at its log"
NO_ROOM = "No room on ECS: {reason}"
NOT_TAKEN = "ECS does not take this build: {reason}"
BUSY = "Waiting for other builds to end: {most} run at once"
OWN_BUSY = "Waiting for your other builds to end: {most} of them run at once"

_attempts, _deployments = table_of(BuildAttempt), table_of(Deployment)


def start_some() -> bool:
    """Have ECS start what is next, and return whether more could be started at once."""
    # What another worker is told of an attempt must not take that back. If waiting took too long, whoever starts builds
    # now may have looked before the last ones came.
    with session_lock(STARTS_LOCK, waits=True) as is_ours:
        return _start_some() if is_ours else True


def _start_some() -> bool:
    try:
        unanswered = _unanswered()
    except EcsSilent as error:
        log.warning("ECS does not say what it runs; builds wait", reason=error.message)
        _say(db.session.scalars(select(_due().subquery().c.id)).all(), NO_ANSWER)
        db.session.commit()
        return False
    launches = [*unanswered, *_open_next()]
    what_all_wait_for = _start(launches, {launch.attempt_id for launch in unanswered})
    _say_who_waits(what_all_wait_for)
    return len(launches) >= AT_ONCE and what_all_wait_for is None


def anything_waits() -> bool:
    """Tell whether there is something to start, or an answer of ECS is missing."""
    waits = _waiting().limit(1)
    unanswered = _open_attempts().where(BuildAttempt.task.is_(None)).limit(1)
    return db.session.scalar(waits) is not None or db.session.execute(unanswered).first() is not None


def _start(launches: Sequence[Launch], asked_before: Set[uuid.UUID]) -> str | None:
    """Ask ECS for all, some at a time. If it starts no more at present, return what everybody waits for."""
    asking = _Round(settings(), ecs(settings()))
    # No connection of the pool waits with us for ECS.
    db.session.commit()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for launch, answer in zip(launches, pool.map(asking.ask, launches), strict=True):
            _follow(launch, answer, may_run=launch.attempt_id in asked_before)
    if not asking.is_over:
        return None
    log.error("ECS starts no builds at present; they wait", reason=asking.said.reason)
    return _why(asking.said)


class _Round:
    """ECS is asked for one launch after another until it says what it would say of all."""

    def __init__(self, config: Settings, client: Ecs) -> None:
        self._config = config
        self._client = client
        self._of_all: list[Halted | Refused] = []
        self._in_vain: list[Unclear | Later] = []

    @property
    def said(self) -> Halted | Refused | Later:
        """What ECS would say, of what it is not asked for any more."""
        return self._of_all[0] if self._of_all else Later(self._in_vain[0].reason)

    @property
    def is_over(self) -> bool:
        return bool(self._of_all) or len(self._in_vain) >= CONNECTIONS

    def ask(self, launch: Launch) -> Answer:
        """Ask for a task, or return what ECS would say. Several threads do."""
        if self.is_over:
            return self.said
        answer = self._client.start(ecs_request.run_task(launch, self._config))
        if isinstance(answer, Halted) or (isinstance(answer, Refused) and answer.is_capacity):
            self._of_all.append(answer)
        elif isinstance(answer, Unclear | Later):
            self._in_vain.append(answer)
        return answer


def _follow(launch: Launch, answer: Answer, *, may_run: bool) -> None:
    """Do what an answer means. Of an attempt that was asked for before, a task `may_run` though ECS refuses one now."""
    config = settings()
    pause_s = config.ecs_retry_interval_s
    match answer:
        case Started(task):
            _note_task(launch.attempt_id, task)
            _say([launch.deployment_id], STARTING)
        case Refused(_, is_capacity=False):
            service.withdraw(launch.attempt_id, _why(answer), pause_s=pause_s, most=config.ecs_start_attempts)
        case Refused() | Later() if not may_run:
            service.withdraw(launch.attempt_id, _why(answer), pause_s=pause_s)
        case Halted() if not may_run:
            service.withdraw(launch.attempt_id, _why(answer))
        case _:
            log.warning("ECS started no task for sure; it is asked again", **_ids(launch), reason=answer.reason)
            _say([launch.deployment_id], _why(answer))
    db.session.commit()


def _why(answer: Halted | Refused | Unclear | Later) -> str:
    """Return what a deployment's owner is told that it waits for."""
    if isinstance(answer, Refused):
        return (NOT_TAKEN if answer.is_own else NO_ROOM).format(reason=answer.reason)
    if isinstance(answer, Later):
        return NOT_NOW
    return HALTED if isinstance(answer, Halted) else NO_ANSWER


def _note_task(attempt_id: uuid.UUID, task: str) -> None:
    # Of all attempts: the deployment may have been deleted as ECS was asked.
    noted = update(_attempts).where(_attempts.c.id == attempt_id).values(task=task)
    if not rowcount(db.session.execute(noted)):
        left_over.keep(task)
    events.note("task started", attempt_id=str(attempt_id), task=task)


def _unanswered() -> list[Launch]:
    """Return the attempts of which nobody knows whether ECS was asked; note the tasks of those that ECS knows.

    One that ECS does not tell of now waits for the next time, and keeps no other. Raises EcsSilent.
    """
    opened = _open_attempts().where(BuildAttempt.task.is_(None), BuildAttempt.sweeps >= 1)
    rows = db.session.execute(opened.limit(AT_ONCE)).all()
    db.session.commit()
    launches = []
    for row, task in zip(rows, _found([row.id for row in rows]), strict=True):
        if isinstance(task, EcsUnavailable):
            log.warning("ECS does not say whether a build has a task", attempt_id=str(row.id), reason=task.message)
        elif task is not None:
            _note_task(row.id, task)
            db.session.commit()
        elif row.token_hash is None:
            launches.append(_launch(row.id, row.deployment_id, row.number, row.size))
    return launches


def _found(attempt_ids: Sequence[uuid.UUID]) -> list[str | EcsUnavailable | None]:
    """Return the tasks of attempts, or why ECS does not tell them. Raises EcsSilent, soon after it is."""
    client = ecs(settings())

    def find(attempt_id: uuid.UUID) -> str | EcsUnavailable | None:
        try:
            return client.find(attempt_id)
        except EcsSilent:
            raise
        except EcsUnavailable as error:
            return error

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        asked = [pool.submit(find, attempt_id) for attempt_id in attempt_ids]
        try:
            return [future.result() for future in asked]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _open_next() -> list[Launch]:
    """Claim the deployments whose turn it is, and open their attempts. Commits, which frees the lock."""
    db.session.execute(select(func.pg_advisory_xact_lock(LOCK)))
    free = max(0, settings().max_concurrent_builds - _running())
    turn = _turns(_due()).subquery()
    whose_turn = select(turn.c.id).where(turn.c.turn <= settings().max_concurrent_builds_per_user)
    ids = db.session.scalars(whose_turn.order_by(turn.c.turn, turn.c.sequence).limit(min(free, AT_ONCE))).all()
    launches = [_open(row) for row in _claim(ids)]
    db.session.commit()
    return launches


def _claim(ids: Sequence[uuid.UUID]) -> list[Any]:
    """Lock those that still wait, in their order. One that somebody holds is left for the next time: no deadlock."""
    number = select(func.count()).where(BuildAttempt.deployment_id == Deployment.id).scalar_subquery()
    rows = db.session.execute(
        select(Deployment.id, Deployment.user_id, number.label("before"), _last_size().label("size"))
        .where(Deployment.id.in_(ids), _is_waiting())
        .with_for_update(of=Deployment, skip_locked=True)
    ).all()
    return sorted(rows, key=lambda row: ids.index(row.id))


def _open(row: Any) -> Launch:
    launch = _launch(uuid.uuid4(), row.id, row.before + 1, row.size)
    size = ecs_request.size_of(launch.last_site_bytes, settings())
    service.note_opened(launch.attempt_id, row.id, launch.number, ECS, launch.bootstrap_token, size)
    claimed = update(Deployment).where(Deployment.id == row.id)
    db.session.execute(claimed.values(attempt_id=launch.attempt_id, held_until=None, reason=STARTING))
    events.changed(row.id)
    events.outdated(row.user_id)
    return launch


def _launch(attempt_id: uuid.UUID, deployment_id: uuid.UUID, number: int, size: int | None) -> Launch:
    token = ecs_request.bootstrap_token(attempt_id, settings())
    return Launch(attempt_id, deployment_id, number, size or 0, token)


def _say_who_waits(what_all_wait_for: str | None) -> None:
    """Say to each deployment that is not started what it waits for: what all do, or a limit."""
    turn = _turns(_due()).subquery()
    own, most = settings().max_concurrent_builds_per_user, settings().max_concurrent_builds
    others = what_all_wait_for or (BUSY.format(most=most) if _running() >= most else None)
    if others:
        _say(db.session.scalars(select(turn.c.id).where(turn.c.turn <= own)).all(), others)
    _say(db.session.scalars(select(turn.c.id).where(turn.c.turn > own)).all(), OWN_BUSY.format(most=own))
    db.session.commit()


def _say(ids: Sequence[uuid.UUID], reason: str) -> None:
    """Have queued deployments say what they wait for. The caller commits."""
    other = select(Deployment.id, Deployment.user_id).where(
        Deployment.id.in_(ids), Deployment.status == Status.QUEUED, Deployment.reason.is_distinct_from(reason)
    )
    rows = db.session.execute(other.with_for_update(of=Deployment, skip_locked=True)).all()
    if not rows:
        return
    db.session.execute(update(Deployment).where(Deployment.id.in_([row.id for row in rows])).values(reason=reason))
    for id, user_id in rows:
        events.changed(id)
        events.outdated(user_id)


def _turns(due: Select[uuid.UUID, uuid.UUID, int]) -> Select[Any]:
    """Select the deployments that are due, each with its turn: how many builds its owner has once it runs."""
    waiting = due.subquery()
    # What runs for deleted deployments counts, too, until it is stopped.
    running = (
        select(_deployments.c.user_id, func.count().label("builds"))
        .join(_attempts, _attempts.c.deployment_id == _deployments.c.id)
        .where(_attempts.c.ended_at.is_(None))
        .group_by(_deployments.c.user_id)
        .subquery()
    )
    place = func.row_number().over(partition_by=waiting.c.user_id, order_by=waiting.c.sequence)
    turn = (func.coalesce(running.c.builds, 0) + place).label("turn")
    joined = waiting.outerjoin(running, running.c.user_id == waiting.c.user_id)
    return select(waiting.c.id, waiting.c.sequence, turn).select_from(joined)


def _running() -> int:
    attempts = select(func.count()).select_from(_attempts).where(_attempts.c.ended_at.is_(None))
    return (db.session.scalar(attempts) or 0) + left_over.count()


def _waiting() -> Select[uuid.UUID, uuid.UUID, int]:
    return select(Deployment.id, Deployment.user_id, Deployment.sequence).where(_is_waiting())


def _due() -> Select[uuid.UUID, uuid.UUID, int]:
    now, longest = func.now(), text(f"interval '{service.LONGEST_PAUSE_S} seconds'")
    # A clock that was set back holds nothing for ever.
    held = and_(Deployment.held_until > now, Deployment.held_until <= now + longest)
    return _waiting().where(or_(Deployment.held_until.is_(None), ~held))


def _is_waiting() -> ColumnElement[bool]:
    return and_(Deployment.status == Status.QUEUED, Deployment.attempt_id.is_(None))


def _open_attempts() -> Select[Any]:
    columns: Iterable[Any] = (BuildAttempt.id, BuildAttempt.deployment_id, BuildAttempt.number, BuildAttempt.token_hash)
    opened = select(*columns, _last_size().label("size")).join(Deployment, Deployment.attempt_id == BuildAttempt.id)
    of_ours = opened.where(BuildAttempt.executor == ECS, BuildAttempt.ended_at.is_(None))
    return of_ours.where(Deployment.status.in_([Status.QUEUED, Status.BUILDING])).order_by(BuildAttempt.created_at)


def _last_size() -> Any:
    """Select the bytes of the last site of the deployment's project."""
    earlier = Deployment.__table__.alias()
    last = select(earlier.c.total_bytes).where(
        earlier.c.project_id == Deployment.project_id, earlier.c.status == Status.SUCCESS
    )
    return last.order_by(earlier.c.sequence.desc()).limit(1).correlate(Deployment).scalar_subquery()


def _ids(launch: Launch) -> dict[str, str]:
    return {"deployment_id": str(launch.deployment_id), "attempt_id": str(launch.attempt_id)}
