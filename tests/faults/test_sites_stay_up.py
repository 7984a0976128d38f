"""Sites are data: visitors get them while PostgreSQL, Redis, web and workers die one after another, and S3 stalls."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import psutil
import pytest

from tests.chaos import Chaos
from tests.faults.visitors import NAMES, REPEATS, pages, versions_shown
from tests.faults.watching import wait_for
from tests.git_server import GitServer, make_repository
from tests.processes import kill, processes_where
from tests.s3 import S3Server
from tests.stack import Stack, running_stack

# Seven deployments through everything, and time for each part to come back: about two minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VISITORS = 4
STALLED_FOR_S = 5.0
LIMIT_S = 2.0
# On a busy machine one answer may be late: not so many in a row.
LATE = 3
MIN_ANSWERS = 200
COMES_BACK_WITHIN_S = 90.0
UNSEEN = "unseen.txt"


@pytest.fixture(scope="module")
def chaos(s3: S3Server) -> Iterator[Chaos]:
    with Chaos(s3.port) as chaos:
        yield chaos


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, s3: S3Server, chaos: Chaos) -> Iterator[Stack]:
    environment = {
        "STORAGE_URL": f"s3://{s3.bucket}/stay-up",
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{chaos.port}",
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "PROXY_WORKERS": "2",
    }
    with running_stack(tmp_path_factory.mktemp("stack"), env=environment) as running:
        running.sign_up()
        yield running


class Visitor(threading.Thread):
    """Asks for a site's files all the while, on one connection; keeps what was wrong with an answer."""

    def __init__(self, stack: Stack, url: str) -> None:
        super().__init__(daemon=True)
        self._port = stack.proxy_port
        self._host = url.split("//")[1].strip("/")
        self._done = threading.Event()
        self._late = 0
        self.newest = 0
        self.answers = 0
        self.wrong: list[str] = []

    def leave(self) -> None:
        """Ask for nothing more."""
        self._done.set()
        self.join()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._done.is_set():
            name, began = random.choice(NAMES), time.monotonic()
            try:
                connection.request("GET", f"/{name}", headers={"Host": self._host})
                response = connection.getresponse()
                self._judge(response.status, response.read().decode(), time.monotonic() - began)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                connection.close()
            self._done.wait(0.01)
        connection.close()

    def _judge(self, status: int, text: str, took_s: float) -> None:
        number = text.partition("\n")[0]
        self.answers += 1
        self._late = self._late + 1 if took_s > LIMIT_S else 0
        if status != 200 or text != f"{number}\n" * REPEATS:
            self.wrong.append(f"{status}: {text[:100]}")
        elif int(number) < self.newest:
            self.wrong.append(f"{number} after {self.newest}")
        elif self._late >= LATE:
            self.wrong.append(f"took {took_s} s")
        else:
            self.newest = int(number)


class Site:
    """A site that is deployed again and again; each of its files says of which deployment it is, by a number."""

    def __init__(self, stack: Stack, repositories: GitServer, folder: Any) -> None:
        self._stack = stack
        self._repository = make_repository(folder / "stays-up")
        self._repository_url = repositories.url("stays-up")
        self.number = 0
        self.url = ""

    def deploy(self) -> None:
        """Deploy the next version as soon as that can be asked for; it must be live then, for every visitor."""
        self.number += 1
        self._repository.commit({**pages(str(self.number)), UNSEEN: f"unseen {self.number}"})
        # An answer may be lost on its way, and what it answered be done.
        headers = {"Idempotency-Key": f"stays-up-{self.number}"}
        deployment = wait_for(lambda: self._ask(headers), COMES_BACK_WITHIN_S)
        ended = wait_for(lambda: self._ended(deployment), COMES_BACK_WITHIN_S)
        assert ended["status"] == "success", ended["logs"][-5:]
        self.url = ended["url"]
        # Each visit is a new connection, so that both of the proxy's processes are asked.
        for _ in range(4):
            assert versions_shown(self._stack, self.url) == {str(self.number)}

    def _ask(self, headers: dict[str, str]) -> dict[str, Any] | None:
        body = {"repository": self._repository_url}
        try:
            answer = self._stack.client.post("/api/deployments", json=body, headers=headers)
        except httpx2.HTTPError:
            return None
        assert answer.status_code in {201, 409} or answer.is_server_error, answer.text
        return dict(answer.json()) if answer.status_code == 201 else None

    def _ended(self, deployment: dict[str, Any]) -> dict[str, Any] | None:
        try:
            answer = self._stack.client.get(f"/api/deployments/{deployment['id']}")
        except httpx2.HTTPError:
            return None
        is_final = answer.is_success and answer.json()["status"] in {"success", "failed", "cancelled"}
        return dict(answer.json()) if is_final else None


def processes_of(stack: Stack, part: str) -> list[psutil.Process]:
    """Return the processes of a part of the product, also those that run under another user."""
    words = {
        "PostgreSQL": [str(stack.data_dir / "postgres")],
        "Redis": ["valkey-server", str(stack.data_dir)],
        "web": ["gunicorn"],
        "workers": ["worker.py"],
    }[part]
    if part in ("web", "workers"):
        return stack.processes(*words)
    return processes_where(lambda facts: all(word in " ".join(facts["cmdline"]) for word in words))


def kill_all(stack: Stack, part: str) -> None:
    """Kill all of a part's processes at once."""
    victims = processes_of(stack, part)
    assert victims, part
    kill(victims)


def get(stack: Stack, url: str, name: str) -> tuple[int, str, float]:
    """Visit a page; return the status, the text, and how long that took in seconds."""
    began = time.monotonic()
    answer = stack.get_site(url, f"/{name}")
    return answer.status_code, answer.text, time.monotonic() - began


def test_visitors_notice_nothing_while_the_platform_dies_around_the_proxy(
    stack: Stack, chaos: Chaos, repositories: GitServer, folder_of_repositories: Any
) -> None:
    site = Site(stack, repositories, folder_of_repositories)
    site.deploy()
    visitors = [Visitor(stack, site.url) for _ in range(VISITORS)]
    for visitor in visitors:
        visitor.start()
    for part in ("PostgreSQL", "Redis", "web", "workers"):
        kill_all(stack, part)
        time.sleep(1)
        site.deploy()
        assert [visitor.wrong for visitor in visitors] == [[]] * VISITORS, part
    chaos.stall()
    stalled_until = time.monotonic() + STALLED_FOR_S
    while time.monotonic() < stalled_until:
        tries = [get(stack, site.url, UNSEEN) for _ in range(LATE)]
        assert {status for status, _, _ in tries} == {503}
        assert min(took_s for _, _, took_s in tries) < LIMIT_S
        assert versions_shown(stack, site.url) == {str(site.number)}
    chaos.heal()
    site.deploy()
    wait_for(lambda: get(stack, site.url, UNSEEN)[:2] == (200, f"unseen {site.number}"))
    for visitor in visitors:
        visitor.leave()
    assert [visitor.wrong for visitor in visitors] == [[]] * VISITORS
    assert {visitor.newest for visitor in visitors} == {site.number}
    assert min(visitor.answers for visitor in visitors) > MIN_ANSWERS
