"""Ask the started processes whether they answer: web and proxy over HTTP, workers in RQ's registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx2
import psutil
import redis
import rq

from autostack.local.procfile import Program

HTTP_TIMEOUT_S = 5
QUEUE_WORKERS = ("worker", "builder")


def answers_http(url: str) -> Callable[[], bool]:
    """Return a check: whether a GET of `url` is answered with 200."""
    # Made once: to read the certificates of all authorities takes twenty times as long as to ask. Our own machine is
    # never reached by way of the environment's HTTP proxy.
    client = httpx2.Client(timeout=HTTP_TIMEOUT_S, trust_env=False)

    def check() -> bool:
        try:
            return client.get(url).status_code == 200
        except httpx2.HTTPError:
            return False

    return check


def workers_registered(programs: Sequence[Program], redis_url: str, supervisor_pid: int) -> Callable[[], bool]:
    """Return a check: whether each `worker` and `builder` below the supervisor has told Redis that it works.

    RQ's registry may also hold workers of other machines and of a run that was killed, hence the look at process ids.
    """
    wanted = sum(program.name.partition(".")[0] in QUEUE_WORKERS for program in programs)

    def check() -> bool:
        try:
            with redis.Redis.from_url(redis_url, socket_timeout=HTTP_TIMEOUT_S) as connection:
                registered = {worker.pid for worker in rq.Worker.all(connection=connection)}
        except redis.RedisError:
            return False
        return len(registered & _descendants(supervisor_pid)) >= wanted

    return check


def _descendants(pid: int) -> set[int]:
    try:
        return {process.pid for process in psutil.Process(pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()
