"""Web's processes are copies of one application: what it must not hold when copied, and who takes a connection."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from socket import socketpair

from gunicorn.config import Config
from gunicorn.workers.gthread import TConn

from autostack.web.workers import SharingWorker, patience_s

LOOK = """
import os
from autostack import create_app
create_app()
links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
sockets = [link for link in links if os.path.islink(link) and os.readlink(link).startswith("socket:")]
print(len(os.listdir("/proc/self/task")), len(sockets))
"""


def test_making_the_application_starts_no_thread_and_opens_no_connection(tmp_path):
    command = [sys.executable, "-c", LOOK]
    environment = {"DATA_DIR": str(tmp_path), "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    environment |= {"REDIS_URL": "redis://127.0.0.1:1/0", "PATH": "/usr/bin:/bin"}
    made = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
    )
    assert made.stdout.split() == ["1", "0"], made.stderr


def test_how_many_threads_a_process_has_is_a_setting(tmp_path):
    look = "from autostack.web import gunicorn; print(gunicorn.threads, gunicorn.workers)"
    environment = {"DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "WEB_THREADS": "7", "WEB_CONCURRENCY": "3"}
    read = subprocess.run(
        [sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert read.stdout.split() == ["7", "3"]


def test_who_has_more_connections_leaves_the_next_to_others_but_waits_for_none_of_them_long():
    waits = [patience_s(connections) for connections in (0, 1, 4, 1_000)]
    assert waits[0] == 0
    assert waits == sorted(set(waits))
    assert waits[-1] <= 0.001


def test_a_websocket_which_closed_its_socket_itself_is_counted_as_gone_once():
    worker = SharingWorker.__new__(SharingWorker)
    worker.alive, worker.nr_conns = True, 2
    ours, _ = socketpair()
    connection, answered = TConn(Config(), ours, ("127.0.0.1", 1), ("127.0.0.1", 2)), Future()
    answered.set_result(False)
    ours.close()
    worker.finish_request(connection, answered)
    assert worker.nr_conns == 1
