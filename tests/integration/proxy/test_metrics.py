"""What the proxy tells Prometheus: the sums of all its processes, at a port of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import kill
from tests.s3 import free_port
from tests.sites import PATIENCE_S, running_proxy

PREFIX = "autostack_proxy_"


def read(port: int) -> dict[str, float]:
    """Return the metrics by their names, a histogram's bucket by its bound, too."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name.removeprefix(PREFIX) + sample.labels.get("le", ""): sample.value for sample in samples}


def wait_for(port: int, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    deadline = time.monotonic() + PATIENCE_S
    while not condition(metrics := read(port)):
        assert time.monotonic() < deadline, metrics
        time.sleep(0.05)
    return metrics


def answered(seen: dict[str, float]) -> float:
    return seen["hits_total"] + seen["misses_total"]


@pytest.fixture
def port() -> int:
    return free_port()


def test_every_process_is_counted_and_one_that_died_is_not_forgotten(folder, environment, port, proxy):
    given = {**environment, "PROXY_WORKERS": 2, "PROXY_METRICS_PORT": port}
    with running_proxy(folder, given) as other:
        for _ in range(40):
            assert other.get("/plain.txt").body == b"plain"
        before = wait_for(port, lambda seen: 41 <= answered(seen) == seen["request_duration_seconds_count"])
        assert before["misses_total"] >= 1
        assert before["request_duration_seconds_bucket+Inf"] == before["request_duration_seconds_count"]
        assert before["request_duration_seconds_bucket0.001"] <= before["request_duration_seconds_bucket0.1"]
        with other.connect(), other.connect():
            wait_for(port, lambda seen: seen["open_connections"] == 2)
        workers = psutil.Process(other.process.pid).children()
        kill(workers)
        assert not psutil.wait_procs(workers, timeout=PATIENCE_S)[1], "who asks now is answered by the next ones"
        after = wait_for(port, lambda seen: seen["open_connections"] == 0)
        assert after["hits_total"] >= before["hits_total"]


def test_an_error_of_the_store_is_counted(folder, environment, port, proxy):
    nowhere = {**environment, "STORAGE_URL": "s3://bucket", "S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    keys = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PROXY_METRICS_PORT": port,
        "PROXY_ANSWER_TIMEOUT": 1_700,
    }
    with running_proxy(folder, {**nowhere, **keys}) as other:
        assert other.get("/").status == 503
        wait_for(port, lambda seen: seen["store_errors_total"] == 1)


def test_a_taken_port_for_metrics_is_one_clear_line(folder, environment, proxy):
    names = {**environment, "PROXY_PORT": free_port(), "PROXY_METRICS_PORT": proxy.port, "DATA_DIR": folder}
    given = {**os.environ, **{name: str(value) for name, value in names.items()}}
    ended = subprocess.run(
        [sys.executable, "proxy.py"], env=given, capture_output=True, text=True, timeout=90, check=False
    )
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{proxy.port} for metrics" in ended.stderr
    assert "Traceback" not in ended.stderr
