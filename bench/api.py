"""How many requests web answers, beside a bare Flask view that returns the same bytes.

Both run under gunicorn as the Procfile has it, with the same processes and threads. Each is asked by 16 connections,
and they take short turns with connections of their own: a machine whose speed drifts is the same for both, and so is
chance where it hands connections to processes. The list and the dashboard are those of a user with 30 deployments;
each refresh trades the token before.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask_migrate import upgrade

from autostack import create_app
from autostack.accounts import service as accounts
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db
from autostack.projects.models import Project, SiteHost
from autostack.settings import load_settings
from bench.bare import ANSWERS
from bench.load import CONNECTIONS, Measured, Request, measure
from bench.web import ROOT, UNLIMITED, client, cookies, serving, web_command
from tests.services import running_postgres, running_valkey
from tests.stack import PASSWORD

EMAIL = "bench@example.com"
REQUESTS, A_TURN = 1_000, 250
PROJECTS, DEPLOYMENTS_EACH = 3, 10
LIST, DASHBOARD, REFRESH = "GET /api/deployments", "GET /dashboard", "POST /api/auth/refresh"


@dataclass
class Contest:
    """Both servers, and what each connection asks them."""

    port: int
    bare_port: int
    requests: dict[str, list[Request]]

    def round(self) -> dict[str, tuple[Measured, Measured]]:
        """Return, for each kind of request, what the bare view and what web took."""
        return {name: self._contend(requests) for name, requests in self.requests.items()}

    def _contend(self, requests: list[Request]) -> tuple[Measured, Measured]:
        bare, web = self._turn(requests, bare_first=True)
        for turn in range(1, REQUESTS // A_TURN):
            bare_now, web_now = self._turn(requests, bare_first=turn % 2 == 0)
            bare, web = bare + bare_now, web + web_now
        return bare, web

    def _turn(self, requests: list[Request], *, bare_first: bool) -> tuple[Measured, Measured]:
        # What the bare view answers to a refresh is no token to go on with.
        copies = [replace(request) for request in requests]
        if bare_first:
            return measure(self.bare_port, copies, A_TURN), measure(self.port, requests, A_TURN)
        web = measure(self.port, requests, A_TURN)
        return measure(self.bare_port, copies, A_TURN), web


def run(rounds: int) -> None:
    """Print each round's figures, then the medians and their ratios as JSON."""
    with _contest() as contest:
        contest.round()
        measured = [_show(contest.round()) for _ in range(rounds)]
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
        command = web_command()
        port = stack.enter_context(serving(command, environment, folder / "web.log"))
        requests = {LIST: [_listing(port)] * CONNECTIONS, DASHBOARD: [_visiting(port)] * CONNECTIONS}
        (folder / "answers.json").write_text(json.dumps(_answers(port, requests, _refreshing(port))))
        requests[REFRESH] = [_refreshing(port) for _ in range(CONNECTIONS)]
        environment[ANSWERS] = str(folder / "answers.json")
        bare = command.replace("autostack:create_app", "bench.bare:create_app")
        yield Contest(port, stack.enter_context(serving(bare, environment, folder / "bare.log")), requests)


def _environment(folder: Path, stack: ExitStack) -> dict[str, str]:
    return {
        "DATA_DIR": str(folder / "data"),
        "DATABASE_URL": stack.enter_context(running_postgres(folder)),
        "REDIS_URL": stack.enter_context(running_valkey(folder)),
        # As in production, but for HTTPS.
        "LOG_FORMAT": "json",
        **UNLIMITED,
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


def _logged_in(port: int) -> dict[str, Any]:
    with client(port) as asking:
        tokens: dict[str, Any] = asking.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD}).json()
        return tokens


def _listing(port: int) -> Request:
    return Request("GET", "/api/deployments", {"Authorization": f"Bearer {_logged_in(port)['token']}"})


def _visiting(port: int) -> Request:
    """Sign in as a browser does; ask for the dashboard."""
    return Request("GET", "/dashboard", {"Cookie": cookies(port, EMAIL)})


def _refreshing(port: int) -> Request:
    return Request("POST", "/api/auth/refresh", {}, _trade(_logged_in(port)), lambda body: _trade(json.loads(body)))


def _trade(tokens: dict[str, Any]) -> bytes:
    return json.dumps({"refreshToken": tokens["refreshToken"]}).encode()


def _answers(port: int, requests: dict[str, list[Request]], refresh: Request) -> dict[str, tuple[str, str]]:
    """Return what web answers to each kind of request, for the bare view to answer too. The refresh is used up."""
    answers = {}
    with client(port) as asking:
        for asked in (*(kind[0] for kind in requests.values()), refresh):
            headers = {**asked.headers, "Content-Type": "application/json"}
            answered = asking.request(asked.method, asked.path, headers=headers, content=asked.body)
            answered.raise_for_status()
            answers[asked.path] = answered.headers["Content-Type"], answered.text
    return answers


def _show(measured: dict[str, tuple[Measured, Measured]]) -> dict[str, tuple[Measured, Measured]]:
    """Print a round, and return it."""
    for name, (bare, web) in measured.items():
        for side, one in (("Autostack", web), ("bare view", bare)):
            figures = f"p50 {one.percentile_ms(50):6.1f} ms   p99 {one.percentile_ms(99):6.1f} ms"
            used = "  ".join(f"{program} {us}" for program, us in one.cpu_us.items())
            print(f"{name:<24} {side}   {figures}   {one.per_second:6.0f} requests/s   CPU us: {used}", flush=True)
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
            f"{key}_cpu_us": _median(web.served_cpu_us for _, web in pairs),
            f"bare_{key}_cpu_us": _median(bare.served_cpu_us for bare, _ in pairs),
            f"{key}_ratio": _median(web.per_second / bare.per_second for bare, web in pairs),
        }
    return result


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)
