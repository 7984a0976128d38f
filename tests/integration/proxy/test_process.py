"""The proxy as a process: how it starts, what it loads, and how it goes down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.integration.proxy.conftest import BIG
from tests.integration.proxy.messages import GET, GET_BIG, read_answers
from tests.sites import read_all, running_proxy


def test_going_down_finishes_what_is_under_way_and_takes_nothing_new(folder, environment, store, proxy):
    with running_proxy(folder, environment) as other, other.connect() as busy, other.connect() as idle:
        idle.sendall(GET)
        read_answers(idle, 1)
        busy.sendall(GET_BIG)
        data = busy.recv(1000)
        other.process.send_signal(signal.SIGTERM)
        assert read_all(idle) == b""
        with pytest.raises(OSError, match="refused"):
            other.connect()
        data += read_all(busy)
        assert data.endswith(BIG[-1000:])
        assert len(data) > len(BIG)
        assert other.process.wait(timeout=60) == 0


def test_going_down_answers_what_was_asked_for_ahead(folder, environment, proxy):
    with running_proxy(folder, environment) as other, other.connect() as connection:
        connection.sendall(GET_BIG * 3)
        data = connection.recv(1000)
        other.process.send_signal(signal.SIGTERM)
        data += read_all(connection)
        assert data.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert data.endswith(BIG[-1000:])
        assert other.process.wait(timeout=60) == 0


def test_a_taken_port_is_one_clear_line(proxy, environment):
    command = [sys.executable, "proxy.py"]

    given = {**os.environ, **{k: str(v) for k, v in environment.items()}, "PROXY_PORT": str(proxy.port)}
    ended = subprocess.run(command, env=given, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 1
    assert "cannot listen on 127.0.0.1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_proxy_loads_neither_flask_nor_sqlalchemy():
    program = (
        "import sys, autostack.proxy, autostack.proxy.handler\n"
        "print([name for name in ('flask', 'sqlalchemy', 'boto3', 'rq') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
