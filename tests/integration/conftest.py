"""The web that operators run, for tests that must ask it and not the application in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from flask import Flask

from autostack.settings import Settings
from tests.s3 import free_port

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
READY_WITHIN_S = 240


@pytest.fixture
def address(app: Flask, make_settings: Callable[..., Settings], tmp_path: Path) -> Iterator[str]:
    """The address of gunicorn, started as the Procfile does."""
    settings, port = make_settings(), free_port()
    limits = {f"RATE_LIMIT_{name}": "1000000/minute" for name in ("AUTH", "DEPLOYMENTS", "API")}
    environment = {
        **os.environ,
        **limits,
        "APP_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DATA_DIR": str(settings.data_dir),
        "BCRYPT_ROUNDS": "4",
        "REPO_TIMEOUT": "2",
    }
    command = [PROGRAMS / "gunicorn", "-c", "python:autostack.web.gunicorn", "autostack:create_app()"]
    log = tmp_path / "web.log"
    with log.open("wb") as output:
        web = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_answers(environment["APP_URL"], web, log)
        yield environment["APP_URL"]
    finally:
        web.terminate()
        web.wait(timeout=90)


def _wait_until_it_answers(address: str, web: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and web.poll() is None:
        try:
            httpx2.get(f"{address}/healthz", trust_env=False)
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"web does not answer: {log.read_text()[-4000:]}")
