"""How many requests web answers, beside a bare Flask view that returns the same bytes.

Both run under gunicorn as the Procfile has it, with the same processes and threads, and are asked in turns: each by 16
connections. The list and the dashboard are those of a user with 30 deployments; each refresh trades the token before.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from flask_migrate import upgrade

from autostack import create_app
from autostack.accounts import service as accounts
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db
from autostack.local import child
from autostack.local.procfile import parse
from autostack.projects.models import Project, SiteHost
from autostack.settings import load_settings
from bench.bare import ANSWERS
from bench.load import CONNECTIONS, Measured, Request, measure
from tests.s3 import free_port
from tests.services import running_postgres, running_valkey
from tests.stack import PASSWORD

ROOT = Path(__file__).parents[1]
EMAIL = "bench@example.com"
REQUESTS = 1_000
WARM_UP = 200
PROJECTS, DEPLOYMENTS_EACH = 3, 10
START_TIMEOUT_S = 60
LIST, DASHBOARD, REFRESH = "GET /api/deployments", "GET /dashboard", "POST /api/auth/refresh"
CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


@dataclass
class Contest:
    """Both servers, and what each connection asks them."""

    port: int
    bare_port: int
    requests: dict[str, list[Request]]

    def round(self, count: int) -> dict[str, tuple[Measured, Measured]]:
        """Return, for each kind of request, what the bare view and what web took."""
        measured = {}
        for name, requests in self.requests.items():
            bare = measure(self.bare_port, requests, count)
            # Those of the round before are traded in.
            fresh = [_refreshing(self.port) for _ in requests] if name == REFRESH else requests
            measured[name] = bare, measure(self.port, fresh, count)
        return measured


def run(rounds: int) -> None:
    """Print each round's figures, then the medians and their ratios as JSON."""
    with _contest() as contest:
        contest.round(WARM_UP)
        measured = [_show(contest.round(REQUESTS)) for _ in range(rounds)]
    print(json.dumps(_result(measured)))


@contextmanager
def _contest() -> Iterator[Contest]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autostack-bench-")))
        environment = _environment(folder, stack)
        app = create_app(load_settings(**environment))
        with app.app_context():
            upgrade(directory=str(ROOT / "migrations"))
            _fill()
        command = shlex.join(parse((ROOT / "Procfile").read_text())["web"])
        port = stack.enter_context(_serving(command, environment, folder / "web.log"))
        requests = {LIST: [_listing(port)] * CONNECTIONS, DASHBOARD: [_visiting(port)] * CONNECTIONS}
        requests[REFRESH] = [_refreshing(port) for _ in range(CONNECTIONS)]
        (folder / "answers.json").write_text(json.dumps(_answers(port, requests)))
        environment[ANSWERS] = str(folder / "answers.json")
        bare = command.replace("autostack:create_app", "bench.bare:create_app")
        yield Contest(port, stack.enter_context(_serving(bare, environment, folder / "bare.log")), requests)


def _environment(folder: Path, stack: ExitStack) -> dict[str, str]:
    unlimited = {f"RATE_LIMIT_{kind}": "1000000/minute" for kind in ("AUTH", "API", "DEPLOYMENTS")}
    return {
        "DATA_DIR": str(folder / "data"),
        "DATABASE_URL": stack.enter_context(running_postgres(folder)),
        "REDIS_URL": stack.enter_context(running_valkey(folder)),
        # As in production, but for HTTPS.
        "LOG_FORMAT": "json",
        **unlimited,
    }


def _fill() -> None:
    user = accounts.sign_up("Bench", EMAIL, PASSWORD)
    for number in range(PROJECTS):
        address = f"https://git.example.com/bench/{number}"
        project = Project(
            user_id=user.id, name=f"project-{number}", label=f"project-{number}", repository=address,
            repository_key=address,
        )  # fmt: skip
        db.session.add(project)
        db.session.flush()
        deployments = [_deployment(project, f"{project.label}-{index}") for index in range(DEPLOYMENTS_EACH)]
        db.session.add_all(deployments)
        db.session.flush()
        db.session.add_all(
            SiteHost(label=made.label, project_id=project.id, deployment_id=made.id, kind="deployment")
            for made in deployments
        )
    db.session.commit()


def _deployment(project: Project, label: str) -> Deployment:
    now = datetime.now(UTC)
    return Deployment(
        project=project, user_id=project.user_id, label=label, branch="main", author="Bench", status=Status.SUCCESS,
        commit_hash="0123456789abcdef0123456789abcdef01234567", commit_message="Say hello", build_duration=42,
        created_at=now, started_at=now, completed_at=now,
    )  # fmt: skip


@contextmanager
def _serving(command: str, environment: dict[str, str], log: Path) -> Iterator[int]:
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


def _client(port: int) -> httpx2.Client:
    return httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)


def _logged_in(port: int) -> dict[str, Any]:
    with _client(port) as client:
        tokens: dict[str, Any] = client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD}).json()
        return tokens


def _listing(port: int) -> Request:
    return Request("GET", "/api/deployments", {"Authorization": f"Bearer {_logged_in(port)['token']}"})


def _visiting(port: int) -> Request:
    """Log in as a browser does; ask for the page that /dashboard leads to."""
    with _client(port) as client:
        [token] = CSRF.findall(client.get("/login").text)
        client.post("/login", data={"csrf_token": token, "email": EMAIL, "password": PASSWORD})
        landed = client.get("/dashboard", follow_redirects=True)
        landed.raise_for_status()
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        return Request("GET", landed.url.path, {"Cookie": cookies})


def _refreshing(port: int) -> Request:
    return Request("POST", "/api/auth/refresh", {}, _trade(_logged_in(port)), lambda body: _trade(json.loads(body)))


def _trade(tokens: dict[str, Any]) -> bytes:
    return json.dumps({"refreshToken": tokens["refreshToken"]}).encode()


def _answers(port: int, requests: dict[str, list[Request]]) -> dict[str, tuple[str, str]]:
    """Return what web answers to each kind of request, for the bare view to answer too."""
    answers = {}
    with _client(port) as client:
        for asked in (kind[0] for kind in requests.values()):
            headers = {**asked.headers, "Content-Type": "application/json"}
            answered = client.request(asked.method, asked.path, headers=headers, content=asked.body)
            answered.raise_for_status()
            answers[asked.path] = answered.headers["Content-Type"], answered.text
    return answers


def _show(measured: dict[str, tuple[Measured, Measured]]) -> dict[str, tuple[Measured, Measured]]:
    """Print a round, and return it."""
    for name, (bare, web) in measured.items():
        for side, one in (("Autostack", web), ("bare view", bare)):
            figures = f"p50 {one.percentile_ms(50):6.1f} ms   p99 {one.percentile_ms(99):6.1f} ms"
            print(f"{name:<24} {side}   {figures}   {one.per_second:6.0f} requests/s", flush=True)
    return measured


def _result(rounds: list[dict[str, tuple[Measured, Measured]]]) -> dict[str, Any]:
    """Return medians. A ratio is the median of the rounds' own: the machine's speed drifts."""
    result: dict[str, Any] = {"bench": "api"}
    for key, name in (("list", LIST), ("dashboard", DASHBOARD), ("refresh", REFRESH)):
        pairs = [measured[name] for measured in rounds]
        result |= {
            f"{key}_p50_ms": _median(web.percentile_ms(50) for _, web in pairs),
            f"{key}_p99_ms": _median(web.percentile_ms(99) for _, web in pairs),
            f"{key}_per_s": _median(web.per_second for _, web in pairs),
            f"bare_{key}_per_s": _median(bare.per_second for bare, _ in pairs),
            f"{key}_ratio": _median(web.per_second / bare.per_second for bare, web in pairs),
        }
    return result


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)
