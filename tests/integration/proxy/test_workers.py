"""The proxy as several processes on one port: one that dies is missed by nobody, and all end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.integration.proxy.conftest import BIG
from tests.integration.proxy.messages import GET, GET_BIG, read_answers
from tests.sites import Proxy, awaited, read_all, running_proxy

WORKERS = 3


@pytest.fixture
def workers(folder, environment, proxy) -> Iterator[Proxy]:
    with running_proxy(folder, {**environment, "PROXY_WORKERS": WORKERS}) as running:
        # The first one answers before the last one is there.
        awaited(lambda: len(children(running)) == WORKERS)
        yield running


def children(proxy: Proxy) -> list[psutil.Process]:
    return psutil.Process(proxy.process.pid).children()


def alive(proxy: Proxy) -> set[int]:
    return {worker.pid for worker in children(proxy) if not is_dead(worker)}


def is_dead(worker: psutil.Process) -> bool:
    try:
        return worker.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_worker_that_dies_is_replaced_and_nobody_is_refused(workers):
    before = {worker.pid for worker in children(workers)}
    assert len(before) == WORKERS
    victim = children(workers)[0]
    victim.kill()
    awaited(lambda: is_dead(victim))
    # A third of these are dealt to the one that is away, and wait for the next.
    assert [workers.get("/plain.txt").body for _ in range(40)] == [b"plain"] * 40
    awaited(lambda: len({worker.pid for worker in children(workers)} - before) == 1)
    assert "worker died" in workers.log.read_text()


def test_a_worker_that_cannot_be_started_is_tried_again_and_ends_nothing_else(workers):
    parent = psutil.Process(workers.process.pid)
    limit = parent.rlimit(psutil.RLIMIT_NOFILE)
    victim, *others = children(workers)
    # Fewer than it has open: there is no pipe to be had for another process.
    parent.rlimit(psutil.RLIMIT_NOFILE, (WORKERS + 2, limit[1]))
    victim.kill()
    awaited(lambda: "worker not started" in workers.log.read_text())
    assert all(worker.is_running() for worker in others)
    parent.rlimit(psutil.RLIMIT_NOFILE, limit)
    awaited(lambda: len(alive(workers) - {victim.pid}) == WORKERS)
    assert [workers.get("/plain.txt").body for _ in range(20)] == [b"plain"] * 20
    workers.process.send_signal(signal.SIGTERM)
    assert workers.process.wait(timeout=60) == 0


def test_a_worker_that_stands_still_is_replaced_and_the_others_visitors_keep_their_connections(
    folder, environment, proxy
):
    given = {"PROXY_WORKERS": WORKERS, "PROXY_HANG_TIMEOUT": 8}
    with running_proxy(folder, {**environment, **given}) as other:
        awaited(lambda: len(children(other)) == WORKERS)
        victim, *others = children(other)
        kept = []
        while len({worker.pid for worker, _ in kept}) < WORKERS:
            kept.append(connect_to_a_worker(other))
        victim.suspend()
        # Those who are dealt to it are answered by the next.
        assert [other.get("/plain.txt").body for _ in range(20)] == [b"plain"] * 20
        awaited(lambda: "worker stands still" in other.log.read_text())
        assert all(worker.is_running() for worker in others)
        awaited(lambda: len(alive(other) - {victim.pid}) == WORKERS)
        for worker, connection in kept:
            if worker != victim:
                connection.sendall(GET)
                assert read_answers(connection, 1)[0].body == b"plain"
            connection.close()
        assert other.log.read_text().count("worker stands still") == 1


def test_the_only_one_is_replaced_where_it_stands_still_and_its_visitor_waits_for_the_next(folder, environment, proxy):
    with running_proxy(folder, {**environment, "PROXY_HANG_TIMEOUT": 5}) as other:
        other.worker.suspend()
        assert other.get("/plain.txt").body == b"plain"


def connect_to_a_worker(proxy: Proxy) -> tuple[psutil.Process, socket.socket]:
    """Open a connection; tell which worker it was dealt to."""
    connection = proxy.connect()
    connection.sendall(GET)
    read_answers(connection, 1)
    for worker in children(proxy):
        if any(found.raddr and found.raddr[1] == connection.getsockname()[1] for found in worker.net_connections()):
            return worker, connection
    raise AssertionError("no worker has it")


def test_all_of_them_finish_what_is_under_way(workers):
    connections = [workers.connect() for _ in range(4 * WORKERS)]
    for connection in connections:
        connection.sendall(GET_BIG)
    begun = [connection.recv(1000) for connection in connections]
    workers.process.send_signal(signal.SIGTERM)
    for connection, begin in zip(connections, begun, strict=True):
        assert (begin + read_all(connection)).endswith(BIG[-1000:])
        connection.close()
    assert workers.process.wait(timeout=60) == 0
    with pytest.raises(OSError, match="refused"):
        workers.connect()


def test_they_end_when_their_parent_is_killed(workers):
    left = children(workers)
    with workers.connect() as idle:
        idle.sendall(GET)
        read_answers(idle, 1)
        workers.process.kill()
        workers.process.wait()
        assert read_all(idle) == b""
    assert psutil.wait_procs(left, timeout=60)[1] == []


def test_another_proxy_cannot_take_a_share_of_the_port(workers, environment):
    given = {**environment, "PROXY_WORKERS": WORKERS, "PROXY_PORT": workers.port}
    env = {**os.environ, **{name: str(value) for name, value in given.items()}}
    ended = subprocess.run(
        [sys.executable, "proxy.py"], env=env, capture_output=True, text=True, timeout=90, check=False
    )
    assert ended.returncode == 1
    assert "cannot listen on 127.0.0.1" in ended.stderr
