"""How long a site of 10,000 files takes from the build's folder to its visitors, beside `aws s3 sync` of that folder.

Both write to the same SeaweedFS, in turns, and who is first changes from round to round: first the whole site, then
the site with one changed file. Autostack's time is from the end of the clone until the deployment is a success, by the
log: walk, hash, compress (brotli, zstandard and gzip), upload, manifest, routes. `sync` compresses nothing, and
switches nothing at once. Half of the files are pages, some are scripts, the rest are pictures: no one compresses those.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autostack.sites.store import Listed, open_store
from tests.git_server import GitServer, make_repository, serve_repositories
from tests.s3 import S3Server, running_s3, s3_settings
from tests.stack import Stack, running_stack

FILES = 10_000
MEAN_BYTES = 20_000
CHANGED = "pages/0.html"
# In an environment of its own: it is particular about the versions of what it shares with us.
AWS_CLI = "awscli==1.45.11"
WORDS = 4_000
WITHIN_S = 1_800
CLONED, LIVE = "Detected ", "Deployed to "


@dataclass(frozen=True)
class Round:
    """One round's times in seconds, and how many bytes of blobs went to the store for one changed file."""

    full: float
    full_sync: float
    incremental: float
    incremental_sync: float
    bytes_again: int


@dataclass
class Contest:
    """One tree and the two ways of publishing it."""

    stack: Stack
    s3: S3Server
    git: GitServer
    aws: Path
    folder: Path
    files: dict[str, bytes]
    rounds: int = 0

    def round(self) -> Round:
        """Return the times of both for a tree that neither has seen, and then for one changed file."""
        self.rounds += 1
        name = f"site-{self.rounds}"
        tree = self.folder / name / "tree"
        # No blob of an earlier round is of use.
        files = {path: data + self.rounds.to_bytes(2, "big").hex().encode() for path, data in self.files.items()}
        write(tree, files)
        repository = make_repository(self.folder / f"{name}.git", files)
        full, full_sync = self._both(name, tree)
        changed = {CHANGED: files[CHANGED] + b"<p>changed</p>"}
        write(tree, changed)
        repository.commit(changed)
        began = datetime.now(UTC)
        incremental, incremental_sync = self._both(name, tree)
        return Round(full, full_sync, incremental, incremental_sync, self._bytes_of_blobs_since(began))

    def _both(self, name: str, tree: Path) -> tuple[float, float]:
        ways: list[Callable[[], float]] = [lambda: self._publish(name), lambda: self._sync(name, tree)]
        order = (0, 1) if self.rounds % 2 else (1, 0)
        took = {way: ways[way]() for way in order if not os.sync()}
        return took[0], took[1]

    def _publish(self, name: str) -> float:
        """Deploy the repository's newest commit; return what its log says of the time after the clone."""
        deployment = self.stack.deploy(self.git.url(f"{name}.git"))
        ended = self.stack.ended(deployment, WITHIN_S)
        assert ended["status"] == "success", ended["logs"][-20:]
        lines = self.stack.call("GET", f"/api/deployments/{deployment['id']}/logs")["logs"]
        return seconds_between(lines, CLONED, LIVE)

    def _sync(self, name: str, tree: Path) -> float:
        """Run `aws s3 sync`; return its time."""
        keys = {"AWS_ACCESS_KEY_ID": self.s3.access_key_id, "AWS_SECRET_ACCESS_KEY": self.s3.secret_access_key}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "AWS_DEFAULT_REGION": self.s3.region}
        target = f"s3://{self.s3.bucket}/synced/{name}/"
        command = [str(self.aws), "s3", "sync", "--only-show-errors", "--endpoint-url", self.s3.endpoint_url]
        start = time.perf_counter()
        subprocess.run([*command, str(tree), target], env=environment | keys, check=True)
        return time.perf_counter() - start

    def _bytes_of_blobs_since(self, began: datetime) -> int:
        # S3 tells whole seconds.
        return sum(blob.size for blob in self._blobs() if blob.modified >= began.replace(microsecond=0))

    def _blobs(self) -> Iterable[Listed]:
        store = open_store(s3_settings(self.s3, "autostack"))
        return [found for found in store.objects("projects") if "/blobs/" in found.key]


def seconds_between(lines: list[dict[str, Any]], first: str, last: str) -> float:
    """Return the time between two lines of a log, told by how they begin."""
    times = [
        next(
            datetime.fromisoformat(line["timestamp"])
            for line in lines
            if line["message"].split("] ")[1].startswith(text)
        )
        for text in (first, last)
    ]
    return (times[1] - times[0]).total_seconds()


def site(count: int) -> dict[str, bytes]:
    """Return the files of a site of `count` files, their mean size MEAN_BYTES."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghilmnoprstu", k=chance.randint(2, 11))) for _ in range(WORDS)]
    files: dict[str, bytes] = {}
    for number in range(count):
        size = chance.randint(MEAN_BYTES // 5, MEAN_BYTES * 9 // 5)
        if number % 20 < 10:
            files[f"pages/{number}.html"] = page(chance, words, size)
        elif number % 20 < 12:
            files[f"scripts/{number}.js"] = page(chance, words, size)
        else:
            files[f"pictures/{number}.webp"] = chance.randbytes(size)
    return files


def page(chance: random.Random, words: list[str], size: int) -> bytes:
    """Return a text of about `size` bytes, with tags in it."""
    text = " ".join(
        f'<p class="{word}">{word}</p>' if chance.random() < 0.1 else word
        for word in chance.choices(words, k=size // 8)
    )
    return text[:size].encode()


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def install_aws(folder: Path) -> Path:
    """Install the AWS CLI into an environment below `folder`; return the program."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", AWS_CLI], check=True, capture_output=True)
    return folder / "bin" / "aws"


def run(rounds: int, count: int = FILES) -> None:
    """Print each round's times, then the medians of their ratios as JSON."""
    with tempfile.TemporaryDirectory(prefix="autostack-bench-") as name, serve_repositories(Path(name)) as git:
        folder = Path(name)
        for part in ("s3", "stack"):
            (folder / part).mkdir()
        aws = install_aws(folder / "aws")
        with running_s3(folder / "s3") as s3, running_stack(folder / "stack", env=on_s3(s3)) as stack:
            stack.sign_up()
            contest = Contest(stack, s3, git, aws, folder, site(count))
            measured = [show(contest.round()) for _ in range(rounds)]
    print(json.dumps(result(measured)))


def on_s3(s3: S3Server) -> dict[str, str]:
    """Return the variables under which Autostack keeps its sites there."""
    return {
        "STORAGE_URL": f"s3://{s3.bucket}/autostack",
        "S3_ENDPOINT_URL": s3.endpoint_url,
        "S3_REGION": s3.region,
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "BUILD_TIMEOUT": str(WITHIN_S * 1000),
        # Those of an installation, not of a test that waits for them.
        "SWEEP_INTERVAL": "15",
        "HEARTBEAT_INTERVAL": "5",
        "HEARTBEAT_TIMEOUT": "60",
    }


def show(measured: Round) -> Round:
    """Print a round as a row, and return it."""
    columns = {
        "full": measured.full,
        "sync": measured.full_sync,
        "one file": measured.incremental,
        "sync again": measured.incremental_sync,
    }
    row = "   ".join(f"{name} {seconds:7.2f} s" for name, seconds in columns.items())
    print(f"{row}   {measured.bytes_again:,} bytes again", flush=True)
    return measured


def result(rounds: list[Round]) -> dict[str, Any]:
    """Return the medians of the rounds' own ratios: the machine's speed drifts."""
    return {
        "bench": "publish",
        "full_vs_sync": median(r.full / r.full_sync for r in rounds),
        "incremental_vs_sync": median(r.incremental / r.incremental_sync for r in rounds),
        "bytes_again": int(statistics.median(r.bytes_again for r in rounds)),
    }


def median(values: Iterable[float]) -> float:
    """Return the middle value, to the thousandth."""
    return round(statistics.median(values), 3)
