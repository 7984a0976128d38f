"""The background processes: `control` and `builds` work off their queues, `clock` asks for what is due.

Workers are RQ's, but for four things. A work-horse dies with its worker, so that no build goes on beside its retry.
A build that is cut short by a shutdown is given to another worker at once. One that was killed says so to its owner.
One that is under way does not end because Redis is away.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import structlog
from flask import Flask
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.job import Job
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import configure_mappers

from autostack import create_app, logs
from autostack.accounts import mails
from autostack.builds import service as builds
from autostack.builds.dispatch import JOB as START_BUILD
from autostack.builds.ecs import ecs
from autostack.copies import made_for_good
from autostack.errors import ConfigurationError
from autostack.extensions import connect_redis, db, redis, settings
from autostack.local.child import die_with_parent
from autostack.queue import BUILDS, CONTROL, enqueue, waiting
from autostack.settings import load_settings

log = structlog.stdlib.get_logger(__name__)

# An idle worker does no housekeeping for as long as it waits for a job: this long, less 15 s.
WORKER_TTL_S = 20
# It waits for jobs in Redis, and rather for a Redis that hangs than give up the build below it.
REDIS_TIMEOUT_S = 30
# The clock's lock: whoever holds it asks for sweeps.
CLOCK_LOCK = 7_306_002
PERIODIC = ("autostack.builds.jobs.sweep_deployments", mails.SEND_JOB)
PARENT_PID = "AUTOSTACK_WORKER_PID"
JOBS = tuple(f"autostack.{feature}.jobs" for feature in ("accounts", "builds", "deployments", "domains", "github"))


class AppWorker(Worker):
    """A worker whose jobs run in the application's context."""

    def __init__(self, app: Flask, queue: str) -> None:
        with app.app_context():
            connection = connect_redis(settings(), REDIS_TIMEOUT_S)
            grace_s = settings().shutdown_grace_s
        name = f"{queue}-{os.uname().nodename}-{os.getpid()}"
        super().__init__(
            [Queue(queue, connection=connection)], name=name, connection=connection, worker_ttl=WORKER_TTL_S
        )
        self._app = app
        self._grace_s = grace_s
        self._shutting_down = False

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run the job in the child process, which dies with the worker."""
        die_with_parent(int(os.environ[PARENT_PID]))
        with self._app.app_context():
            # Connections do not survive a fork: the child makes its own.
            db.engine.dispose(close=False)
            redis().connection_pool.reset()
            self.connection.connection_pool.reset()
            super().main_work_horse(job, queue)

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Do the job, and log it with the request that asked for it."""
        began = time.monotonic()
        with structlog.contextvars.bound_contextvars(job=job.func_name, job_id=job.id, **job.meta):
            succeeded: bool = super().perform_job(job, queue)
            level = logging.DEBUG if succeeded and job.func_name in PERIODIC else logging.INFO
            log.log(level, "job", succeeded=succeeded, duration_ms=round((time.monotonic() - began) * 1000))
        return succeeded

    def maintain_heartbeats(self, job: Job) -> None:
        """Tell Redis that the job goes on; it does, too, while Redis is away: PostgreSQL has the build's state."""
        with _without_redis():
            super().maintain_heartbeats(job)

    def set_current_job_working_time(self, current_job_working_time: float, pipeline: Pipeline | None = None) -> None:
        with _without_redis():
            super().set_current_job_working_time(current_job_working_time, pipeline)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        os.environ[PARENT_PID] = str(os.getpid())
        super().fork_work_horse(job, queue)

    def handle_warm_shutdown_request(self) -> None:
        """Give the running job a while to end; then end it, and let another worker have it."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        self._shutting_down = True
        timer = threading.Timer(self._grace_s, self._end_horse)
        timer.daemon = True
        timer.start()

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: Any) -> None:
        """Tell PostgreSQL that the attempt has lost its worker."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)  # type: ignore[no-untyped-call]
        if job.func_name == START_BUILD:
            with self._app.app_context():
                self._release(uuid.UUID(job.args[1]), _how(ret_val))
                db.engine.dispose()

    def _end_horse(self) -> None:
        if self.horse_pid:
            self.kill_horse(signal.SIGKILL)

    def _release(self, attempt_id: uuid.UUID, how: str) -> None:
        if self._shutting_down:
            builds.lose(attempt_id, "The build's worker was shut down")
        else:
            builds.lose(attempt_id, f"The build was killed ({how}), probably for want of memory", again=False)


@contextlib.contextmanager
def _without_redis() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        log.warning("Redis is away, the job goes on", error=str(error))


def main() -> None:
    """Run the process that the command line names, until it is told to end."""
    parser = argparse.ArgumentParser(description="Autostack's background processes.")
    parser.add_argument("role", choices=(CONTROL, BUILDS, "clock"))
    role = parser.parse_args().role
    try:
        known = load_settings()
        logs.begin(known)
        with made_for_good():
            app = create_app(known)
    except ConfigurationError as error:
        sys.exit(f"autostack: {error.message}")
    if role == "clock":
        run_clock(app)
    else:
        if role == CONTROL and known.builds_on_ecs:
            ecs(known).prepare()
        _prepare(app)
        AppWorker(app, role).work(logging_level="WARNING")


def _prepare(app: Flask) -> None:
    """Make what all jobs need: each is a process of its own, which would make it for itself, again and again."""
    for name in JOBS:
        importlib.import_module(name)
    configure_mappers()
    # SQLAlchemy asks the server what it is on an engine's first connection only. One that is away tells the jobs.
    with app.app_context(), contextlib.suppress(SQLAlchemyError):
        db.engine.connect().close()
        db.engine.dispose()
    # A collection in a job looks at its own objects only, and touches none of the memory that it shares with us.
    gc.freeze()


def run_clock(app: Flask) -> None:
    """Ask for a sweep every SWEEP_INTERVAL, as long as this is the one clock that holds the lock.

    Another clock waits until the leader's connection, and with it the lock, is gone.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with app.app_context():
        while True:
            try:
                _lead(settings().sweep_interval_s)
            except SQLAlchemyError as error:
                log.warning("the clock has lost PostgreSQL", error=str(error).partition("\n")[0])
                time.sleep(1)


def _lead(interval_s: float) -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(select(func.pg_try_advisory_lock(CLOCK_LOCK))):
            time.sleep(interval_s)
        while True:
            # A lock that was lost with its connection shows here, before two clocks lead.
            connection.execute(text("SELECT 1"))
            told = waiting(CONTROL) or ()
            for job in PERIODIC:
                # One that waits is enough: after a pause of the workers, sweeps must not come in a row.
                if job.rpartition(".")[2] not in told:
                    enqueue(CONTROL, job)
            time.sleep(interval_s)


def _how(status: int | None) -> str:
    if status is not None and os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return "its process ended"
