"""Real servers for tests: a PostgreSQL and a Valkey of their own, on unix sockets in a folder that the test gives.

@pytest.fixture(scope="session")
def database_url(tmp_path_factory):
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from autostack.local import child
from autostack.local.folders import socket_folder
from autostack.local.postgres import Postgres
from autostack.local.valkey import Valkey

START_TIMEOUT_S = 240


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL with its data under `folder`; yield its URL (role and database `autostack`)."""
    # It is emptied before each test; nobody needs it after the machine's own crash.
    unsafe = ("-c", "fsync=off", "-c", "full_page_writes=off")
    with _running(Postgres(folder / "postgres", socket_folder(folder)), signal.SIGINT, unsafe) as url:
        yield url


@contextlib.contextmanager
def running_valkey(folder: Path) -> Iterator[str]:
    """Run a Valkey with its files under `folder`; yield its URL (`unix://…?db=0`)."""
    with _running(Valkey(folder / "valkey", socket_folder(folder)), signal.SIGTERM) as url:
        yield url


@contextlib.contextmanager
def _running(service: Postgres | Valkey, stop_signal: signal.Signals, options: Sequence[str] = ()) -> Iterator[str]:
    service.prepare()
    log = service.folder.with_name(f"{service.name}.log")
    with log.open("wb") as output:
        process = child.start([*service.command(), *options], stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_answers(service, process, log)
        yield service.url
    finally:
        _stop(service, process, stop_signal)
        # Servers that have ended well leave no socket; another one may still have its own in there.
        with contextlib.suppress(OSError):
            service.sockets.rmdir()


def _wait_until_it_answers(service: Postgres | Valkey, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not service.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{service.name} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


def _stop(service: Postgres | Valkey, process: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    if process.poll() is None:
        # bubblewrap forwards no signals: the server is its only child.
        outer = psutil.Process(process.pid)
        inner = outer.children() if service.is_wrapped() else []
        (inner or [outer])[0].send_signal(stop_signal)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        child.end_group(process.pid)
        process.wait()
