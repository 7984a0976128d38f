"""6. SIGTERM right at dequeue, 200 times → no job lost.

Our own workers on a real Valkey, with the product's own job: publishing what was built. What RQ loses between taking a
job from the queue and starting it, the sweep finds in PostgreSQL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from autostack.builds.jobs import sweep_deployments
from autostack.deployments import logs
from autostack.deployments.models import Deployment
from autostack.extensions import db, redis
from autostack.local import child
from autostack.queue import BUILDS, CONTROL
from tests.builders import build
from tests.faults.watching import wait_for

TIMES = 200
# From before the worker hears of the job until after it has begun with it; most often soon, and late enough for any.
LATEST_S = 0.5
# Starts workers as a supervisor does, one after the other, but without reading all modules anew for each of them.
SUPERVISOR = """
import os, sys, threading
from autostack.worker import AppWorker, create_app
app = create_app()
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        AppWorker(app, sys.argv[1]).work(logging_level="ERROR")
        os._exit(0)
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


class Supervisor:
    """Gives a new worker each time that it is asked for one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def start(self) -> int:
        """Return the process id of a worker that waits for a job."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        pid = int(self._line())
        wait_for(lambda: any("b" in client["flags"] for client in redis().client_list()))
        return pid

    def wait(self) -> None:
        assert self._line() == b"ended\n"

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def supervisor(queue, settings):
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DATA_DIR": str(settings.data_dir),
        "ROUTE_TTL": str(settings.route_ttl_ms),
    }
    command = [sys.executable, "-c", SUPERVISOR, queue]
    process = child.start(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Supervisor(process)
    finally:
        child.end_group(process.pid)
        process.wait()


def _statuses():
    db.session.rollback()
    return Counter(db.session.scalars(select(Deployment.status)))


def _sweep_until_all_are_done():
    # As the clock does, only sooner.
    sweep_deployments()
    time.sleep(0.2)
    return set(_statuses()) == {"success"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_f06_no_job_is_lost_when_its_worker_is_told_to_end_as_it_dequeues(app, api, make_settings, project):
    deployments = []
    with app.app_context():
        redis().flushall()
        with supervisor(CONTROL, make_settings()) as workers:
            for number in range(TIMES):
                id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
                redis().delete(f"rq:queue:{BUILDS}")
                worker = workers.start()
                build(app, id, {"/index.html": b"%d" % number})
                time.sleep(LATEST_S * (number / TIMES) ** 4)
                os.kill(worker, signal.SIGTERM)
                workers.wait()
                deployments.append(id)
            left = _statuses()
            worker = workers.start()
            wait_for(_sweep_until_all_are_done)
            os.kill(worker, signal.SIGTERM)
        assert _statuses() == {"success": TIMES}
        for id in deployments:
            assert sum("Deployed to" in line for line in logs.as_text(id)) == 1
    # The signal did come at all sorts of moments: some jobs were done, others were cut off.
    assert 0 < left["success"] < TIMES, left
