"""What the tests of faults share: a running Autostack of the module's own, and repositories that take a while."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis

from tests.faults.watching import environment_of
from tests.git_server import GitServer, Repository, make_repository, serve_repositories
from tests.stack import Stack, running_stack

# Builds for as many seconds as the file `seconds` says, or `SECONDS`, or until it is told to end, saying a word now and
# then, and leaves a page.
BUILD = """
const fs = require("fs");
let left = 10 * Number(fs.existsSync("seconds") ? fs.readFileSync("seconds") : process.env.SECONDS || 3);
process.on("SIGUSR2", () => { left = 0; });
const timer = setInterval(() => {
  console.log("left " + left);
  if (left-- > 0) return;
  clearInterval(timer);
  fs.mkdirSync("dist", { recursive: true });
  fs.writeFileSync("dist/index.html", fs.readFileSync("page.html"));
}, 100);
"""


@pytest.fixture(scope="module")
def folder_of_repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repositories")


@pytest.fixture(scope="module")
def repositories(folder_of_repositories: Path) -> Iterator[GitServer]:
    with serve_repositories(folder_of_repositories) as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Some of them wait until an agent is given up.
    with running_stack(tmp_path_factory.mktemp("stack"), env={"HEARTBEAT_TIMEOUT": "30"}) as running:
        running.sign_up()
        yield running


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    """The stack's PostgreSQL."""
    with psycopg.connect(environment_of(stack)["DATABASE_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def redis(stack: Stack) -> Iterator[Redis]:
    """The stack's Valkey."""
    with contextlib.closing(Redis.from_url(environment_of(stack)["REDIS_URL"])) as client:
        yield client


@pytest.fixture
def slow_repository(
    request: pytest.FixtureRequest, repositories: GitServer, folder_of_repositories: Path
) -> Callable[..., tuple[str, Repository]]:
    """Make a repository of this test's own; return its address and what commits to it."""

    def make(page: str = "built") -> tuple[str, Repository]:
        name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60]
        manifest = json.dumps({"name": "slow", "scripts": {"build": "node build.js"}})
        files = {"package.json": manifest, "build.js": BUILD, "page.html": page}
        return repositories.url(name), make_repository(folder_of_repositories / name, files)

    return make
