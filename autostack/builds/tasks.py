"""Looking after tasks on ECS: those that fell silent are asked about, those that nobody needs are stopped.

An agent speaks by heartbeats; ECS is only asked about tasks whose agent was not heard since the last sweep.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
from sqlalchemy import func, or_, select, text, update

from autostack.builds import ecs_verdict, left_over, service
from autostack.builds.ecs import CONNECTIONS, TASKS_AT_ONCE, EcsSilent, EcsUnavailable, Task, ecs
from autostack.builds.ecs_verdict import RUNNING, Verdict
from autostack.builds.launching import NO_ROOM
from autostack.builds.models import ECS, BuildAttempt, Outcome
from autostack.deployments import logs
from autostack.deployments.status import LogLevel
from autostack.extensions import db, settings
from autostack.hiding import table_of
from autostack.logs import hide_secrets
from autostack.queue import BUILD_MARGIN_S

log = structlog.stdlib.get_logger(__name__)

GONE = "The build's task is not known to ECS any more"
SILENT = "The build's task runs, but its agent stopped answering"
UNHEARD = "The build's task runs, but its agent was not heard within {seconds} s"
UNANSWERED = "ECS did not say within {seconds} s whether it started the build"
NOT_STARTED = "The build's task did not start within {seconds} s"
MAX_LINE = 1_000
# In one sweep: a sweep has other things to do.
LINES_BUDGET_S = 20
TOO_LONG = "The build took much longer than it may"
CANCELLED = "The deployment was cancelled"
DELETED = "The deployment was deleted"
LINGERS = "The build has ended"
# An agent saves caches after its last word, for as long as it may, and then ends: this is more than that takes.
LINGER_MARGIN_S = 60
LINGERING_AT_ONCE = 1_000

_attempts = table_of(BuildAttempt)


def look_after() -> None:
    """Ask ECS about silent tasks, and end the attempts that will say nothing more. Raises EcsUnavailable."""
    if not settings().builds_on_ecs:
        return
    _end_overdue()
    columns = (BuildAttempt.id, BuildAttempt.task, BuildAttempt.silent_sweeps, BuildAttempt.heartbeats)
    silent = select(*columns).where(_is_open(), BuildAttempt.task.is_not(None), BuildAttempt.silent_sweeps >= 1)
    rows = db.session.execute(silent.order_by(BuildAttempt.created_at)).all()
    # No connection of the pool waits with us for ECS.
    db.session.commit()
    with _reading() as last_lines:
        for part in (rows[first : first + TASKS_AT_ONCE] for first in range(0, len(rows), TASKS_AT_ONCE)):
            described = ecs(settings()).describe([row.task for row in part])
            judged = [(row, _judged(row, described[row.task])) for row in part if row.task in described]
            ended = [(row, verdict) for row, verdict in judged if verdict is not None]
            lines = last_lines([row.task for row, verdict in ended if verdict.ran])
            for row, verdict in ended:
                _note_over(row.id)
                _follow(row, verdict, lines.get(row.task, []))


@contextmanager
def _reading() -> Iterator[Callable[[Sequence[str]], dict[str, list[str]]]]:
    """Yield what reads the last lines of tasks, several at a time. What takes too long in all is not waited for."""
    client, until_s = ecs(settings()), time.monotonic() + LINES_BUDGET_S

    def read(tasks: Sequence[str]) -> dict[str, list[str]]:
        asked = {pool.submit(client.last_lines, task): task for task in tasks}
        told, late = wait(asked, timeout=max(0, until_s - time.monotonic()))
        for future in late:
            future.cancel()
        return {asked[future]: future.result() for future in told}

    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        yield read
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def stop_ended() -> None:
    """Stop the tasks of attempts that ended without their agents: cancelled, lost or deleted. Raises EcsUnavailable."""
    if not settings().builds_on_ecs:
        return
    ended = select(_attempts.c.id, _attempts.c.task, _attempts.c.reason).where(
        _attempts.c.task.is_not(None),
        ~_attempts.c.task_over,
        _attempts.c.outcome.in_([Outcome.CANCELLED, Outcome.LOST]),
    )
    rows, left = db.session.execute(ended).all(), left_over.to_stop()
    db.session.commit()
    stops = [(row.task, row.reason or CANCELLED, partial(_note_over, row.id)) for row in rows]
    _stop_all([*stops, *((task, DELETED, partial(left_over.forget, task)) for task in left)])


def stop_lingering() -> None:
    """Stop tasks that run on though their agents told the end of their builds a while ago. Raises EcsUnavailable."""
    if not settings().builds_on_ecs:
        return
    seconds = service.CACHE_GRACE_S + LINGER_MARGIN_S
    ended = select(_attempts.c.id, _attempts.c.task).where(
        _attempts.c.task.is_not(None),
        ~_attempts.c.task_over,
        _attempts.c.outcome.in_([Outcome.BUILT, Outcome.FAILED]),
        _attempts.c.ended_at < func.now() - text(f"interval '{seconds} seconds'"),
    )
    rows = db.session.execute(ended.order_by(_attempts.c.ended_at).limit(LINGERING_AT_ONCE)).all()
    db.session.commit()
    described = _described([row.task for row in rows])
    known = [(row, described[row.task]) for row in rows if row.task in described]
    _note_over(*(row.id for row, task in known if not _is_living(task)))
    _stop_all((row.task, LINGERS, partial(_note_over, row.id)) for row, task in known if _is_living(task))


def _is_living(task: Task | None) -> bool:
    return task is not None and task.get("lastStatus") != ecs_verdict.STOPPED


def _described(tasks: Sequence[str]) -> dict[str, Task | None]:
    parts = (tasks[first : first + TASKS_AT_ONCE] for first in range(0, len(tasks), TASKS_AT_ONCE))
    return {arn: task for part in parts for arn, task in ecs(settings()).describe(part).items()}


def _stop_all(stops: Iterable[tuple[str, str, Callable[[], None]]]) -> None:
    """Stop tasks, each with a reason, and note each that was: one that ECS will not stop keeps no other running."""
    refused: EcsUnavailable | None = None
    for task, reason, note in stops:
        try:
            ecs(settings()).stop(task, reason)
        except EcsSilent:
            raise
        except EcsUnavailable as error:
            refused = error
        else:
            note()
    if refused is not None:
        raise refused


def sweeps_in(seconds: int) -> int:
    """Return how many sweeps there are in so much time."""
    return max(1, -(-seconds // settings().sweep_interval_s))


def _judged(row: Any, task: Task | None) -> Verdict | None:
    """Return what the end of a task means; None of one that has not ended, or is not known: the attempt may have."""
    config = settings()
    if task is None:
        # Right after its start ECS may not know it yet.
        if row.silent_sweeps >= sweeps_in(config.heartbeat_timeout_s):
            service.lose(row.id, GONE, heartbeats=row.heartbeats)
        return None
    verdict = ecs_verdict.judge(task, config.ecs_container)
    if verdict is None:
        _judge_living(row, task)
    return verdict


def _follow(row: Any, verdict: Verdict, last_lines: Sequence[str]) -> None:
    config = settings()
    if verdict.is_capacity:
        service.withdraw(row.id, NO_ROOM.format(reason=verdict.reason), pause_s=config.ecs_retry_interval_s)
        return
    if verdict.ran:
        _say_last_lines(row.id, last_lines)
    service.lose(row.id, verdict.reason, again=verdict.again)


def _judge_living(row: Any, task: Task) -> None:
    """End an attempt whose task has not ended, but says nothing: `stop_ended` stops it."""
    config = settings()
    is_heard = row.heartbeats > 0
    limit_s = config.heartbeat_timeout_s if is_heard else config.ecs_start_timeout_s
    if row.silent_sweeps < sweeps_in(limit_s):
        return
    unheard = UNHEARD if task.get("lastStatus") == RUNNING else NOT_STARTED
    reason = SILENT if is_heard else unheard.format(seconds=limit_s)
    service.lose(row.id, reason, heartbeats=row.heartbeats)


def _end_overdue() -> None:
    """End attempts whose agent speaks on and on, though its own time limit should have ended it."""
    config = settings()
    longest_s = config.ecs_start_timeout_s + config.build_timeout_ms // 1000 + BUILD_MARGIN_S
    overdue = select(BuildAttempt.id).where(_is_open(), BuildAttempt.sweeps >= sweeps_in(longest_s))
    # Of an attempt that has neither a task nor an agent nobody knows that it began.
    began = or_(BuildAttempt.task.is_not(None), BuildAttempt.token_hash.is_not(None))
    for attempt_id in db.session.scalars(overdue.where(began)).all():
        service.lose(attempt_id, TOO_LONG, again=False)
    _end_unanswered()


def _end_unanswered() -> None:
    """End attempts of which ECS has not said for long whether they have a task: they hold others' places."""
    limit_s = settings().ecs_start_timeout_s
    unanswered = select(BuildAttempt.id).where(_is_open(), BuildAttempt.sweeps >= sweeps_in(limit_s))
    unknown = unanswered.where(BuildAttempt.task.is_(None), BuildAttempt.token_hash.is_(None))
    for attempt_id in db.session.scalars(unknown).all():
        service.lose(attempt_id, UNANSWERED.format(seconds=limit_s), heartbeats=0)


def _say_last_lines(attempt_id: uuid.UUID, lines: Sequence[str]) -> None:
    """Put what a task wrote last into its deployment's log: its agent died before it could say why."""
    attempt = db.session.get(BuildAttempt, attempt_id)
    if attempt is None or attempt.ended_at is not None or not lines:
        return
    logs.say(attempt.deployment, "The last lines of the build's task:", LogLevel.WARNING)
    for line in lines:
        logs.say(attempt.deployment, _harmless(line), LogLevel.WARNING)
    db.session.commit()


def _harmless(line: str) -> str:
    printable = "".join(character for character in line if character.isprintable())
    return hide_secrets(None, "", printable[:MAX_LINE])


def _note_over(*attempt_ids: uuid.UUID) -> None:
    db.session.execute(update(_attempts).where(_attempts.c.id.in_(attempt_ids)).values(task_over=True))
    db.session.commit()


def _is_open() -> Any:
    return (BuildAttempt.executor == ECS) & BuildAttempt.ended_at.is_(None)
