"""The whole product as `autostack up` runs it, on free ports and a folder of its own, for tests from the outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.processes import below_each_other, processes_where
from tests.s3 import free_port

ROOT = Path(__file__).parents[1]
# Nobody waits so long but on a machine that does ten times as much as it can.
READY_WITHIN_S = 240
ENDED_WITHIN_S = 240
# For each answer, and for the end of everything.
WITHIN_S = 90
PASSWORD = "correct horse battery staple"
FINAL = {"success", "failed", "cancelled"}
# Intervals that let a test see in seconds what takes minutes otherwise, and limits that only abuse would meet.
QUICK = {
    "REPO_HOSTS_ALLOWED": "127.0.0.1",
    "RATE_LIMIT_AUTH": "100000/minute",
    "RATE_LIMIT_DEPLOYMENTS": "100000/minute",
    "RATE_LIMIT_API": "100000/minute",
    "SWEEP_INTERVAL": "1",
    "HEARTBEAT_INTERVAL": "1",
    # An agent on a loaded machine may be silent for a while: where none is to be given up, none is.
    "HEARTBEAT_TIMEOUT": "40",
}


@dataclass
class Stack:
    """A running Autostack. `process` is `autostack up` itself."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path
    port: int
    proxy_port: int
    client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=WITHIN_S, trust_env=False)

    def sign_up(self, email: str = "alice@example.com", name: str = "Alice") -> dict[str, Any]:
        """Make an account and use it from now on."""
        answer = self.call("POST", "/api/auth/signup", {"name": name, "email": email, "password": PASSWORD})
        self.client.headers["Authorization"] = f"Bearer {answer['token']}"
        return answer

    def call(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        """Call the API and return the answer's JSON; any status but `status` (or 2xx) fails the test."""
        response = self.client.request(method, path, json=body)
        expected = response.status_code == status if status else response.is_success
        assert expected, f"{method} {path}: {response.status_code} {response.text[:2000]}"
        return response.json() if response.content else None

    def deploy(self, repository: str, **body: Any) -> dict[str, Any]:
        """Ask for a deployment."""
        return self.call("POST", "/api/deployments", {"repository": repository, **body}, 201)

    def begin_draft(self, email: str, repository: str, *, started: bool = False) -> str:
        """Go through the wizard's first page as somebody, or to its end; return the draft's id."""
        with httpx2.Client(base_url=self.client.base_url, timeout=WITHIN_S, trust_env=False) as browser:
            _send(browser, "/login", {"email": email, "password": PASSWORD})
            draft = _send(browser, "/deploy", {"repository": repository}).split("/")[2]
            if started:
                _send(browser, f"/deploy/{draft}/confirm", {})
            return draft

    def ended(self, deployment: Mapping[str, Any], within_s: float = ENDED_WITHIN_S) -> dict[str, Any]:
        """Wait for a deployment's end, and return it."""
        return self.reaches(deployment, FINAL, within_s)

    def reaches(
        self, deployment: Mapping[str, Any], statuses: set[str], within_s: float = ENDED_WITHIN_S
    ) -> dict[str, Any]:
        """Wait until a deployment's status is one of these, and return it."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = self.call("GET", f"/api/deployments/{deployment['id']}")
            if found["status"] in statuses:
                return found
            time.sleep(0.2)
        raise AssertionError(f"still {found['status']} after {within_s} s: {found['logs'][-20:]}")

    def get_site(self, url: str, path: str = "/") -> httpx2.Response:
        """Visit a site at its own address, by way of the proxy."""
        host = url.split("://")[1].split("/")[0]
        address = f"http://127.0.0.1:{self.proxy_port}{path}"
        return httpx2.get(address, headers={"Host": host, "Accept": "text/html"}, trust_env=False, timeout=WITHIN_S)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return the stack's processes whose command line has all of these words."""
        return processes_where(
            lambda facts: (
                facts["environ"].get("DATA_DIR") == str(self.data_dir)
                and all(word in " ".join(facts["cmdline"]) for word in words)
            )
        )

    def web_workers(self) -> list[psutil.Process]:
        """Return gunicorn's workers, without their master."""
        return below_each_other(self.processes("gunicorn"))


def _send(browser: httpx2.Client, path: str, form: dict[str, str]) -> str:
    """Send a page's form; return where that leads."""
    # The token, and what the page says that it showed.
    hidden = dict(re.findall(r'name="(csrf_token|version)" value="([^"]+)"', browser.get(path).text))
    assert "csrf_token" in hidden, path
    answered = browser.post(path, data={**hidden, **form})
    said = re.search(r'role="alert".*?</p>', answered.text, re.DOTALL)
    assert answered.status_code == 303, said[0] if said else answered.text[:2000]
    return str(answered.headers["Location"])


@contextmanager
def running_stack(
    folder: Path, *, env: Mapping[str, str] | None = None, builders: int = 2, options: Sequence[str] = ()
) -> Iterator[Stack]:
    """Run `autostack up` until the block ends. `env` is beside QUICK. Given the same folder again, it goes on there."""
    data_dir, log = folder / "data", folder / "up.log"
    port, proxy_port = free_port(), free_port()
    command = [str(Path(sys.executable).with_name("autostack")), "up", "--data-dir", str(data_dir), "--port", str(port)]
    command += ["--proxy-port", str(proxy_port), "--builders", str(builders), *options]
    inherited = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**inherited, **QUICK, **(env or {})}, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    stack = Stack(process, data_dir, log, port, proxy_port)
    try:
        _wait_until_ready(stack)
        yield stack
    finally:
        stack.client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=WITHIN_S)


def _wait_until_ready(stack: Stack) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if b"\nready\n" in stack.log.read_bytes():
            return
        assert stack.process.poll() is None, stack.log.read_text()[-4000:]
        time.sleep(0.1)
    raise AssertionError(f"not ready after {READY_WITHIN_S} s: {stack.log.read_text()[-4000:]}")
