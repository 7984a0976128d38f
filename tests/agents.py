"""Start real agents in tests: a Git server, a web for agents, and the agent's own process between them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.git_server import GitServer, Repository, make_repository, serve_repositories
from tests.peers.web_for_agents import ATTEMPT, BOOTSTRAP_TOKEN, FakeWeb, fake_web, make_order


@dataclass
class Site:
    """One repository, and the means to build it."""

    folder: Path
    repository: Repository
    server: GitServer
    web: FakeWeb
    slot: int
    # What the agent's command line begins with, to start it as somebody else.
    prefix: Sequence[str] = ()
    keeps_modules: bool = True
    keeps_mirrors: bool = True
    # What its command line ends with.
    options: Sequence[str] = ()

    @property
    def work_dir(self) -> Path:
        return self.folder / "work"

    @property
    def modules_dir(self) -> Path:
        return self.folder / "modules"

    @property
    def mirrors_dir(self) -> Path:
        return self.folder / "mirrors"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the agent; its token goes in on stdin, and nothing of it is in the environment."""
        agent = subprocess.Popen(
            [*self.prefix, *self.command(), *self.options],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
        )
        assert agent.stdin is not None
        agent.stdin.write(f"{BOOTSTRAP_TOKEN}\n".encode())
        agent.stdin.close()
        return agent

    def command(self) -> list[str]:
        argv = [sys.executable, "-m", "autostack.agent", "--api-url", self.web.url, "--attempt", ATTEMPT]
        argv += ["--work-dir", str(self.work_dir), "--slot", str(self.slot)]
        argv += ["--modules-dir", str(self.modules_dir)] if self.keeps_modules else []
        return argv + (["--mirrors-dir", str(self.mirrors_dir)] if self.keeps_mirrors else [])

    def build(self, timeout_s: float = 500) -> int:
        """Run the agent to its end and return its exit code."""
        agent = self.start()
        try:
            code = agent.wait(timeout_s)
        finally:
            agent.kill()
            errors = agent.stderr.read().decode() if agent.stderr else ""
            agent.wait()
        assert "Traceback" not in errors, errors
        assert "not saved" not in errors, errors
        return code

    def order(self, **changes: Any) -> None:
        """Change the next order: `settings`, `env`, `limits`, `repository`, `project_id`."""
        repository = {"url": self.server.url("site.git"), "hostsAllowed": [self.server.host]}
        self.web.next_attempt(make_order({**repository, **changes.pop("repository", {})}, **changes))

    def environment(self) -> dict[str, str]:
        kept = ("PATH", "SSL_CERT_FILE")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(self.folder),
            "AGENT_ONLY_SECRET": "never-in-the-sandbox",
        }


def slot_of_worker() -> int:
    """Return a slot (so a user id) of this test process alone: other suites may run on this machine."""
    return os.getpid() % 1000


@contextmanager
def make_site(
    folder: Path,
    files: Mapping[str, str | bytes | None],
    *,
    credential: tuple[str, str] | None = None,
    **order: Any,
) -> Iterator[Site]:
    """Give a repository with `files`, served over HTTP, and a web whose order is to build its branch main.

    With a `credential` the repository is private.
    """
    repositories = folder / "repositories"
    repository = make_repository(repositories / "site.git", files)
    with serve_repositories(repositories, credential) as server, fake_web({}) as web:
        site = Site(folder, repository, server, web, slot_of_worker())
        site.order(**order)
        yield site
