"""The queues that wake the workers. PostgreSQL holds what is to be done: a job lost here is found by the sweep."""

from __future__ import annotations

import uuid
from typing import Any

import structlog
from redis.exceptions import RedisError
from rq import Queue

from autostack.extensions import redis, settings

log = structlog.stdlib.get_logger(__name__)

CONTROL = "control"
BUILDS = "builds"
CONTROL_TIMEOUT_S = 300
# Beyond the build itself: the clone, the upload, and saving the cache.
BUILD_MARGIN_S = 1_800


def enqueue(queue: str, job: str, *args: str, at_front: bool = False) -> bool:
    """Ask a worker of `queue` to run the function that `job` names. False if Redis does not take it: the sweep will.

    What it is about, its first argument or else its own name, begins its id, so that `waiting` can tell.
    """
    subject = args[0] if args else job.rpartition(".")[2]
    timeout_s = CONTROL_TIMEOUT_S
    if queue == BUILDS:
        timeout_s = settings().build_timeout_ms // 1000 + BUILD_MARGIN_S
    try:
        Queue(queue, connection=redis()).enqueue(
            job,
            *args,
            job_id=f"{subject}_{uuid.uuid4().hex}",
            job_timeout=timeout_s,
            result_ttl=0,
            failure_ttl=3600,
            meta=_asked_by(),
            at_front=at_front,
        )
    except RedisError as error:
        log.warning("not enqueued", job=job, error=str(error))
        return False
    return True


def enqueue_once(queue: str, job: str, *, at_front: bool = False) -> bool:
    """Ask as `enqueue` does, unless such a job waits already: it will find what this one would."""
    return job.rpartition(".")[2] in (waiting(queue) or ()) or enqueue(queue, job, at_front=at_front)


def _asked_by() -> dict[str, Any]:
    """Return what the job's log lines say of the request that it is done for."""
    bound = structlog.contextvars.get_contextvars()
    return {name: bound[name] for name in ("request_id", "user_id") if name in bound}


def waiting(queue: str) -> set[str] | None:
    """Return what the jobs that wait in a queue are about; None when Redis is away."""
    try:
        return {job_id.rpartition("_")[0] for job_id in Queue(queue, connection=redis()).job_ids}
    except RedisError:
        return None
