"""schemathesis against the live server, by the API's own description, with all of its checks: it finds nothing."""

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
from tests.people import PASSWORD, Person
from tests.s3 import free_port

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "schemathesis"
PROGRAMS = Path(sys.executable).parent
READY_WITHIN_S = 30
# The same questions each time, so that what is found belongs to the change that was made. Take others now and then.
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")


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
        web.wait(timeout=30)


def _wait_until_it_answers(address: str, web: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and web.poll() is None:
        try:
            httpx2.get(f"{address}/healthz", trust_env=False)
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"web does not answer: {log.read_text()[-4000:]}")


def explore(address: str, folder: Path, *options: str, person: Person | None = None) -> None:
    """Have schemathesis try every operation; what it finds fails the test."""
    tester = {"TESTER_EMAIL": person.email, "TESTER_PASSWORD": PASSWORD} if person else {}
    environment = {
        **os.environ,
        **tester,
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(FOLDER),
        "TESTED_API": address,
    }
    command = [PROGRAMS / "st", "--config-file", FOLDER / "schemathesis.toml", "run", f"{address}/api/openapi.json"]
    report = folder / "found.txt"
    with report.open("wb") as output:
        ended = subprocess.run(
            [*command, "--checks", "all", "--no-color", "--seed", SEED, *options],
            env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, report.read_text()[-20_000:]


@pytest.mark.timeout(400)
def test_nobody_finds_anything(address: str, tmp_path: Path) -> None:
    explore(address, tmp_path, "--phases", "examples,coverage")


@pytest.mark.timeout(400)
def test_somebody_signed_in_finds_nothing(address: str, tmp_path: Path, alice: Person) -> None:
    explore(address, tmp_path, "--max-examples", "5", person=alice)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nor_does_a_longer_look(address: str, tmp_path: Path, alice: Person) -> None:
    explore(address, tmp_path, "--max-examples", "60", person=alice)
