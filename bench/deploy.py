"""How long a push takes until its page is live, beside the same build by hand.

By hand is `git clone --depth 1 && npm ci && npm run build`; Autostack's time is from the API call until the site's
address shows the commit's marker. Both take the same commits of the same Vite and React app from the same Git server,
in turns, and who is first changes from round to round. Cold: the project is new, and npm's cache empty, on both sides.
Warm: the project was deployed before with the same lock file, and npm's cache is filled, on both sides. Nothing of
either goes on while the other is measured: caches are saved, and what was written is on the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.git_server import GitServer, Repository, make_repository, serve_repositories
from tests.stack import Stack, running_stack

APP = Path(__file__).parents[1] / "tests" / "e2e" / "apps" / "vite-react"
NAME = "garden"
POLL_S = 0.02
LIVE_WITHIN_S = 300


@dataclass(frozen=True)
class Round:
    """One round's times, in seconds."""

    raw_cold: float
    cold: float
    raw_warm: float
    warm: float


@dataclass
class Contest:
    """One repository and the two ways of building it."""

    stack: Stack
    git: GitServer
    repository: Repository
    folder: Path
    commits: int = 0

    def round(self) -> Round:
        """Return the times of both, cold and then warm, each after a commit of its own that both build."""
        shutil.rmtree(self.folder / "npm", ignore_errors=True)
        self._forget_project()
        return Round(*self._both(), *self._both())

    def _both(self) -> tuple[float, float]:
        """Return the times by hand and by Autostack for the next commit."""
        marker = self._commit()
        ways = (self.by_hand, self.by_autostack)
        took = {way: self._timed(way, marker) for way in (ways if (self.commits - 1) // 2 % 2 else reversed(ways))}
        return took[self.by_hand], took[self.by_autostack]

    def _timed(self, way: Callable[[str], None], marker: str) -> float:
        """Return how many seconds it takes, once nothing of what was before goes on."""
        data_dir = self.stack.data_dir
        # Builds that save their caches, and what is left of projects that were deleted.
        while any(data_dir.glob("builds/*/source")) or len(list(data_dir.glob("store/projects/*"))) > self._projects():
            time.sleep(POLL_S)
        os.sync()
        start = time.perf_counter()
        way(marker)
        return time.perf_counter() - start

    def by_hand(self, marker: str) -> None:
        """Clone, install and build, with an npm cache that lasts until it is removed."""
        checkout = self.folder / "checkout"
        environment = os.environ | {"HOME": str(self.folder), "npm_config_cache": str(self.folder / "npm")}
        for command, place in (
            (["git", "clone", "--quiet", "--depth", "1", self.git.url(NAME), str(checkout)], self.folder),
            (["npm", "ci"], checkout),
            (["npm", "run", "build"], checkout),
        ):
            subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True)
        assert marker in (checkout / "dist" / "index.html").read_text()

    def by_autostack(self, marker: str) -> None:
        """Ask for a deployment, and visit its project's address until it shows the marker."""
        deployment = self.stack.deploy(self.git.url(NAME))
        url = self.stack.call("GET", f"/api/projects/{deployment['projectId']}")["url"]
        deadline = time.monotonic() + LIVE_WITHIN_S
        while marker not in self.stack.get_site(url).text:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} doesn't show {marker} after {LIVE_WITHIN_S} s")
            time.sleep(POLL_S)

    def _commit(self) -> str:
        self.commits += 1
        marker = f"marker-{self.commits}"
        page = (APP / "index.html").read_text().replace("A small app", marker)
        self.repository.commit({"index.html": page, "src/marker.js": f'export const marker = "{marker}";\n'})
        shutil.rmtree(self.folder / "checkout", ignore_errors=True)
        return marker

    def _projects(self) -> int:
        return len(self.stack.call("GET", "/api/projects")["projects"])

    def _forget_project(self) -> None:
        for project in self.stack.call("GET", "/api/projects")["projects"]:
            self.stack.call("DELETE", f"/api/projects/{project['id']}")


def run(rounds: int) -> None:
    """Print each round's times, then the medians and their ratios as JSON."""
    with tempfile.TemporaryDirectory(prefix="autostack-bench-") as name, serve_repositories(Path(name)) as git:
        folder = Path(name)
        repository = make_repository(folder / NAME, app_files())
        (folder / "stack").mkdir()
        with running_stack(folder / "stack") as stack:
            stack.sign_up()
            contest = Contest(stack, git, repository, folder)
            contest.round()
            measured = [show(contest.round()) for _ in range(rounds)]
    print(json.dumps(result(measured)))


def app_files() -> dict[str, str]:
    """Return the app's files by their paths."""
    return {str(path.relative_to(APP)): path.read_text() for path in APP.rglob("*") if path.is_file()}


def show(measured: Round) -> Round:
    """Print a round as a row, and return it."""
    columns = {
        "by hand, cold": measured.raw_cold,
        "Autostack, cold": measured.cold,
        "by hand, warm": measured.raw_warm,
        "Autostack, warm": measured.warm,
    }
    print("   ".join(f"{name} {seconds:6.2f} s" for name, seconds in columns.items()), flush=True)
    return measured


def result(rounds: list[Round]) -> dict[str, Any]:
    """Return the medians in seconds. A ratio is the median of the rounds' own: the machine's speed drifts."""
    return {
        "bench": "deploy",
        "raw_s": median(r.raw_cold for r in rounds),
        "cold_s": median(r.cold for r in rounds),
        "cold_ratio": median(r.cold / r.raw_cold for r in rounds),
        "raw_warm_s": median(r.raw_warm for r in rounds),
        "warm_s": median(r.warm for r in rounds),
        "warm_ratio": median(r.warm / r.raw_warm for r in rounds),
        "overhead_s": median(r.cold - r.raw_cold for r in rounds),
    }


def median(values: Any) -> float:
    """Return the middle value, to the millisecond."""
    return round(statistics.median(values), 3)
