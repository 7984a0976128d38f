"""How many builds one worker has ECS start, watches and finishes. ECS is a server of ours, and its builds are played.

All deployments are there at once, of several users. Each task that `tests/peers/ecs.py` starts is an agent that fetches
its order, sends heartbeats, offers a site of one page and reports its end, and runs no npm. Web, proxy, PostgreSQL and
Valkey are as in production, on the same machine. The delay of a start is from the moment that all are accepted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import func, select

from autostack import create_app
from autostack.accounts import service as accounts
from autostack.builds import dispatch
from autostack.deployments.models import Deployment
from autostack.deployments.status import IN_PROGRESS, Status
from autostack.extensions import db
from autostack.local import child
from autostack.projects.models import Project
from autostack.settings import load_settings
from bench.web import ROOT, UNLIMITED, serving, web_command
from tests.peers.ecs import EcsPeer, Task
from tests.peers.ecs import serving as serving_ecs
from tests.services import running_postgres, running_valkey
from tests.sites import running_proxy

BUILDS, USERS = 1_000, 20
HEARTBEAT_S, HEARTBEATS = 20, 3
PAGE = b"<h1>played</h1>"
CONNECTIONS = 32
# One worker puts one site after another live; on a machine that others use, too, that takes its time.
ENDED_WITHIN_S = 3_600
MB = 1_000_000


@dataclass
class Agents:
    """Plays the agents of all tasks in one thread."""

    started_at: list[float] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    running: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, task: Task) -> None:
        """Begin to play one. ECS calls this as it is asked to run the task."""
        self.started_at.append(time.monotonic())
        self.loop.call_soon_threadsafe(self._begin, task)

    def _begin(self, task: Task) -> None:
        playing = self.loop.create_task(self._play(task))
        self.running.add(playing)
        playing.add_done_callback(self.running.discard)

    async def _play(self, task: Task) -> None:
        told = task.environment
        path = f"/agent/attempts/{told['AUTOSTACK_ATTEMPT']}"
        order = (await self._call("GET", told, path, told["AUTOSTACK_BOOTSTRAP_TOKEN"])).json()
        for batch in range(1, HEARTBEATS + 1):
            line = {"elapsedMs": 0, "level": "info", "text": f"step {batch}"}
            await self._call("POST", told, f"{path}/logs", order["token"], json={"batch": batch, "lines": [line]})
            await asyncio.sleep(HEARTBEAT_S)
        page = {"path": "/index.html", "size": len(PAGE), "sha256": hashlib.sha256(PAGE).hexdigest()}
        listed = await self._call("POST", told, f"{path}/files", order["token"], json={"files": [page], "rules": {}})
        for upload in listed.json()["uploads"]:
            await self._call("PUT", told, f"{path}/blobs/{upload['sha256']}", order["token"], content=PAGE)
        await self._call("POST", told, f"{path}/finish", order["token"], json={"outcome": "built", "reason": None})
        task.stop_code = "EssentialContainerExited"

    async def _call(self, method: str, told: dict[str, str], path: str, token: str, **body: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"}
        response = await self.client.request(method, told["AGENT_API_URL"] + path, headers=headers, **body)
        response.raise_for_status()
        return response

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Play until the block ends."""
        limits = httpx2.Limits(max_connections=CONNECTIONS)
        self.client = httpx2.AsyncClient(trust_env=False, timeout=120, limits=limits)
        thread = threading.Thread(target=self.loop.run_forever)
        thread.start()
        try:
            yield
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            thread.join()


@dataclass(frozen=True)
class Round:
    """What one round took, in seconds, megabytes and calls."""

    starts_per_s: float
    start_cpu_ms: float
    p99_delay_s: float
    finished_s: float
    worker_rss_mb: float
    job_own_mb: float
    calls_per_build: float


def run(rounds: int) -> None:
    """Print each round's figures, then the medians as JSON."""
    measured = [_show(_round()) for _ in range(rounds)]
    print(json.dumps({"bench": "ecs", "builds": BUILDS, **_medians(measured)}))


def _round() -> Round:
    agents = Agents()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autostack-bench-")))
        peer = stack.enter_context(serving_ecs(EcsPeer("", folder, agents.start)))
        stack.enter_context(agents.playing())
        environment = _environment(folder, stack, peer)
        app = create_app(load_settings(**{name.lower(): value for name, value in _settings(environment).items()}))
        with app.app_context():
            upgrade(directory=str(ROOT / "migrations"))
        # A publisher waits for its word.
        stack.enter_context(running_proxy(folder / "data", environment))
        worker = stack.enter_context(_running(environment, folder))
        return _measure(app, worker, peer, agents)


def _measure(app: Flask, worker: psutil.Process, peer: EcsPeer, agents: Agents) -> Round:
    with app.app_context():
        _fill()
        began, cpu_before = time.monotonic(), _cpu_s(worker)
        dispatch.tell_launcher()
        _wait_until(lambda: len(agents.started_at) == BUILDS)
        cpu_s = _cpu_s(worker) - cpu_before
        print(f"all started after {agents.started_at[-1] - began:.1f} s, {cpu_s:.1f} s of CPU", flush=True)
        rss, own = _watch(worker)
        ended = dict(db.session.execute(select(Deployment.status, func.count()).group_by(Deployment.status)).all())
    assert ended == {Status.SUCCESS: BUILDS}, ended
    assert len(peer.tasks) == len(agents.started_at) == BUILDS
    delays = sorted(at - began for at in agents.started_at)
    return Round(
        starts_per_s=BUILDS / delays[-1],
        start_cpu_ms=cpu_s * 1000 / BUILDS,
        p99_delay_s=statistics.quantiles(delays, n=100, method="inclusive")[98],
        finished_s=time.monotonic() - began,
        worker_rss_mb=rss / MB,
        job_own_mb=own / MB,
        calls_per_build=sum(peer.calls.values()) / BUILDS,
    )


def _watch(worker: psutil.Process) -> tuple[int, int]:
    """Wait until all have ended; return the most that the worker took, and the process of one of its jobs beside it."""
    left = select(func.count()).where(Deployment.status.in_(IN_PROGRESS))
    rss, own = [0], [0]

    def all_ended() -> bool:
        rss.append(worker.memory_info().rss)
        own.extend(_own(job) for job in worker.children())
        waiting = db.session.scalar(left)
        db.session.rollback()
        return not waiting

    _wait_until(all_ended)
    return max(rss), max(own)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ENDED_WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{BUILDS} builds did not end within {ENDED_WITHIN_S} s")
        time.sleep(0.5)


def _cpu_s(process: psutil.Process) -> float:
    """Return what a process has used, and the processes of its jobs that have ended."""
    return float(sum(process.cpu_times()[:4]))


def _own(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def _environment(folder: Path, stack: ExitStack, peer: EcsPeer) -> dict[str, str]:
    known = {
        "DATA_DIR": str(folder / "data"),
        "DATABASE_URL": stack.enter_context(running_postgres(folder)),
        "REDIS_URL": stack.enter_context(running_valkey(folder)),
        "LOG_FORMAT": "json",
        "MAX_CONCURRENT_BUILDS": str(BUILDS),
        "MAX_CONCURRENT_BUILDS_PER_USER": str(BUILDS),
        # A thousand agents are played beside web on one machine: what is late here was not lost.
        "HEARTBEAT_TIMEOUT": "600",
        **UNLIMITED,
        **peer.environment(),
    }
    port = stack.enter_context(serving(web_command(), known, folder / "web.log"))
    return {**known, "AGENT_API_URL": f"http://127.0.0.1:{port}"}


def _settings(environment: dict[str, str]) -> dict[str, str]:
    names = {"data_dir", "database_url", "redis_url", "build_executor", "log_format"}
    return {name: value for name, value in environment.items() if name.lower() in names or name.startswith("ECS_")}


@contextmanager
def _running(environment: dict[str, str], folder: Path) -> Iterator[psutil.Process]:
    """Run one worker and the clock; yield the worker."""
    started = []
    for role in ("control", "clock"):
        with (folder / f"{role}.log").open("wb") as log:
            command = [sys.executable, "worker.py", role]
            started.append(
                child.start(command, env={**os.environ, **environment}, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            )
    try:
        yield psutil.Process(started[0].pid)
    finally:
        for process in started:
            process.terminate()
            process.wait(timeout=30)


def _fill() -> None:
    """Have everybody ask for their share of the deployments."""
    for number in range(USERS):
        user = accounts.sign_up(f"User {number}", f"user-{number}@example.com", "correct horse battery staple")
        address = f"https://git.example.com/bench/{number}"
        project = Project(user_id=user.id, name="site", label=f"site-{number}", repository=address)
        project.repository_key = address
        db.session.add(project)
        db.session.flush()
        db.session.add_all(_deployment(project, address) for _ in range(BUILDS // USERS))
    db.session.commit()


def _deployment(project: Project, address: str) -> Deployment:
    id = uuid.uuid4()
    snapshot = {"repository": address, "branch": "main"}
    return Deployment(
        id=id, project=project, user_id=project.user_id, label=f"d-{id.hex}", branch="main", snapshot=snapshot
    )


def _show(measured: Round) -> Round:
    parts = (
        f"{measured.starts_per_s:6.1f} starts/s",
        f"{measured.start_cpu_ms:4.1f} ms of CPU each",
        f"99% within {measured.p99_delay_s:5.1f} s",
        f"all ended after {measured.finished_s:5.1f} s",
        f"worker {measured.worker_rss_mb:4.0f} MB and {measured.job_own_mb:3.0f} MB its job",
        f"{measured.calls_per_build:.2f} calls a build",
    )
    print("   ".join(parts), flush=True)
    return measured


def _medians(rounds: list[Round]) -> dict[str, float]:
    return {name: round(statistics.median(getattr(r, name) for r in rounds), 2) for name in Round.__annotations__}
