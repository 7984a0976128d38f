"""Web as it is run, for benchmarks: gunicorn as the Procfile has it, and a browser's way in."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from autostack.local import child
from autostack.local.procfile import parse
from tests.s3 import free_port
from tests.stack import PASSWORD

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 60
CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')
UNLIMITED = {f"RATE_LIMIT_{kind}": "1000000/minute" for kind in ("AUTH", "API", "DEPLOYMENTS")}


def web_command() -> str:
    """Return how the Procfile starts web."""
    return shlex.join(parse((ROOT / "Procfile").read_text())["web"])


@contextmanager
def serving(command: str, environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run a command that serves; yield the port that it answers on."""
    port = free_port()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, **environment, "PORT": str(port), "PATH": path}
    with log.open("wb") as output:
        process = child.start(shlex.split(command), env=env, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_answers(process, port, log)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
            return
        except httpx2.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"gunicorn did not start:\n{log.read_text()}") from None
            time.sleep(0.05)


def client(port: int) -> httpx2.Client:
    """Return a client of what answers on a port."""
    return httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)


def cookies(port: int, email: str) -> str:
    """Sign in on the page; return the cookies that a browser then sends."""
    with client(port) as browser:
        [token] = CSRF.findall(browser.get("/login").text)
        browser.post("/login", data={"csrf_token": token, "email": email, "password": PASSWORD})
        browser.get("/dashboard").raise_for_status()
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
