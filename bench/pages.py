"""How long pages take with 1,000, 100,000 and 1,000,000 deployments in PostgreSQL.

For a user who owns a hundredth of them, and for one who owns them all: a PostgreSQL and a web server each, which are
asked in turns, one request at a time, so that a machine whose speed drifts is the same for all. Figures are remembered
for a minute; for a page called `…_anew` they are forgotten before each request.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg
from flask_migrate import upgrade
from redis import Redis

from autostack import create_app
from autostack.accounts import service as accounts
from autostack.settings import load_settings
from bench.fill import fill, name_of_project
from bench.web import ROOT, UNLIMITED, cookies, serving, web_command
from tests.services import running_postgres, running_valkey
from tests.stack import PASSWORD

SIZES = (1_000, 100_000, 1_000_000)
OWNERS = {"hundredth": 100, "all": 1}
EMAIL = "bench@example.com"
REQUESTS = 20
ROWS_OF_A_PAGE = 10
# Measured with nothing remembered.
ANEW = "_anew"

Measured = dict[tuple[str, int, str], list[float]]


@dataclass
class Site:
    """One database with its web server, and the paths of the user whose pages are measured, by page."""

    size: int
    user: str
    connection: HTTPConnection
    cookie: str
    redis: Redis
    paths: dict[str, str]

    def time_s(self, page: str) -> float:
        """Return how long a page takes. Raises RuntimeError for any answer but a 200."""
        if page.endswith(ANEW):
            for name in self.redis.scan_iter("autostack:remembered:*"):
                self.redis.delete(name)
        start = time.perf_counter()
        self.connection.request("GET", self.paths[page], headers={"Cookie": self.cookie})
        answered = self.connection.getresponse()
        answered.read()
        took_s = time.perf_counter() - start
        if answered.status != HTTPStatus.OK:
            raise RuntimeError(f"{self.paths[page]} was answered with {answered.status}")
        return took_s


def run(rounds: int) -> None:
    """Print each page's p50 by size and user, then all of them with each page's growth as JSON."""
    with _sites() as sites:
        _round(sites)
        measured: Measured = {}
        for _ in range(rounds):
            for key, times_s in _round(sites).items():
                measured.setdefault(key, []).extend(times_s)
    print(json.dumps(_result(_show(measured))))


def _round(sites: list[Site]) -> Measured:
    measured: Measured = {}
    for page in sites[0].paths:
        for _ in range(REQUESTS):
            for site in sites:
                measured.setdefault((page, site.size, site.user), []).append(site.time_s(page))
    return measured


@contextmanager
def _sites() -> Iterator[list[Site]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autostack-bench-")))
        environment = {
            "DATA_DIR": str(folder / "data"),
            "LOG_FORMAT": "json",
            # One request at a time needs one process.
            "WEB_CONCURRENCY": "1",
            **UNLIMITED,
        }
        redis_url = stack.enter_context(running_valkey(folder))
        sites = []
        for size in SIZES:
            for user, owners in OWNERS.items():
                name = f"{user}_of_{size}"
                environment["DATABASE_URL"] = stack.enter_context(running_postgres(folder / name))
                environment["REDIS_URL"] = redis_url.replace("db=0", f"db={len(sites)}")
                paths = _filled(environment, size, owners)
                port = stack.enter_context(serving(web_command(), environment, folder / f"{name}.log"))
                sites.append(
                    Site(
                        size,
                        user,
                        HTTPConnection("127.0.0.1", port),
                        cookies(port, EMAIL),
                        Redis.from_url(environment["REDIS_URL"]),
                        paths,
                    )
                )
                print(f"{size:>9,} deployments, {user}: filled", flush=True)
        yield sites


def _filled(environment: dict[str, str], size: int, owners: int) -> dict[str, str]:
    """Make the tables and fill them; return the paths of the first owner's pages."""
    app = create_app(load_settings(**environment))
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        users = [accounts.sign_up("Bench", EMAIL, PASSWORD).id]
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        users += [_other_user(connection, number) for number in range(1, owners)]
        fill(connection, users, size)
        return _paths(connection, users[0])


def _other_user(connection: psycopg.Connection[Any], number: int) -> uuid.UUID:
    added = "INSERT INTO users (name, email) VALUES ('Other', %s) RETURNING id"
    row = connection.execute(added, [f"other-{number}@example.com"]).fetchone()
    assert row is not None
    id: uuid.UUID = row[0]
    return id


def _paths(connection: psycopg.Connection[Any], owner: uuid.UUID) -> dict[str, str]:
    """Return the paths that are asked for: each list has ten rows, but for the one that finds nothing."""

    def one(query: str) -> Any:
        row = connection.execute(query, [owner]).fetchone()
        assert row is not None
        return row[0]

    mine = "SELECT {} FROM deployments WHERE user_id = %s ORDER BY sequence {} OFFSET {} LIMIT 1"
    logged = "SELECT d.id FROM deployments d JOIN deployment_logs l ON l.deployment_id = d.id WHERE d.user_id = %s "
    projects = one("SELECT count(*) FROM projects WHERE user_id = %s")
    count = one("SELECT count(*) FROM deployments WHERE user_id = %s")
    return {
        "dashboard": "/dashboard",
        "dashboard_anew": "/dashboard",
        "list": "/deployments",
        "list_deep": f"/deployments?before={one(mine.format('sequence', 'ASC', ROWS_OF_A_PAGE - 1)) + 1}",
        "list_search": f"/deployments?search={name_of_project(projects // 2)}",
        "list_filter": "/deployments?status=building",
        "detail": f"/deployments/{one(logged + 'ORDER BY d.sequence DESC LIMIT 1')}",
        "analytics": "/analytics",
        "analytics_anew": "/analytics",
        "api_deep": f"/api/deployments?page={count // ROWS_OF_A_PAGE}",
    }


def _show(measured: Measured) -> dict[tuple[str, int, str], float]:
    """Print and return the p50 of each, in milliseconds."""
    p50 = {key: round(statistics.median(times_s) * 1000, 2) for key, times_s in measured.items()}
    for (page, size, user), took_ms in p50.items():
        print(f"{page:<16} {size:>9,} deployments, {user:<9}   p50 {took_ms:8.2f} ms", flush=True)
    return p50


def _result(p50: dict[tuple[str, int, str], float]) -> dict[str, Any]:
    pages: dict[str, Any] = {}
    for (page, size, user), took_ms in p50.items():
        pages.setdefault(page, {}).setdefault(user, {})[str(size)] = took_ms
    growth = {
        page: round(by_user["hundredth"][str(SIZES[-1])] / by_user["hundredth"][str(SIZES[0])], 2)
        for page, by_user in pages.items()
    }
    return {"bench": "pages", "p50_ms": pages, "growth": growth}
