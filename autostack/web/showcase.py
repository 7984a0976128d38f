"""What the landing page shows of the interface: a made-up example, and said to be one, drawn by the real templates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from autostack.deployments import ansi
from autostack.deployments.status import Status

BUILT_IN_S = 14
LOG = (
    ("00:00", "info", "Cloning github.com/acme/storefront, branch main"),
    ("00:01", "info", "Detected \x1b[36mVite\x1b[39m, npm, output folder dist"),
    ("00:01", "info", "Restored node_modules from the cache"),
    ("00:02", "info", "\x1b[2m$\x1b[22m npm run build"),
    ("00:04", "info", "\x1b[32m✓\x1b[39m 412 modules transformed."),
    ("00:09", "info", "dist/index.html                 0.61 kB"),
    ("00:09", "info", "dist/assets/index-Bq3x9a.js   148.20 kB"),
    ("00:11", "info", "38 files, 3 of them new, 1.2 MB"),
    ("00:14", "info", "\x1b[32mLive\x1b[39m at storefront.example.com"),
)


@dataclass(frozen=True)
class ExampleDeployment:
    """What the macros ask of a deployment."""

    name: str
    status: Status
    branch: str
    commit_hash: str
    commit_message: str
    ago: timedelta
    duration_s: int | None

    @property
    def created_at(self) -> datetime:
        return datetime.now(UTC) - self.ago


@dataclass(frozen=True)
class ExampleStage:
    """What the list of stages asks of each."""

    stage_name: str
    status: str
    started_at: datetime
    completed_at: datetime


DEPLOYMENTS = (
    ExampleDeployment(
        "storefront",
        Status.SUCCESS,
        "main",
        "8f3c1d2a90",
        "Show delivery times on the product page",
        timedelta(minutes=2),
        BUILT_IN_S,
    ),
    ExampleDeployment(
        "docs", Status.BUILDING, "guides", "17be04c55f", "Explain the new editor", timedelta(seconds=8), None
    ),
    ExampleDeployment(
        "storefront", Status.FAILED, "checkout", "c02d9e7b41", "Try the other form", timedelta(hours=3), 9
    ),
    ExampleDeployment("blog", Status.SUCCESS, "main", "5d91fa3e08", "Fix a typo", timedelta(days=1), 6),
)


def example() -> dict[str, Any]:
    """Return the example as the landing page's template takes it."""
    return {"deployment": DEPLOYMENTS[0], "deployments": DEPLOYMENTS, "stages": _stages(), "log_lines": _lines()}


def _stages() -> list[ExampleStage]:
    start = DEPLOYMENTS[0].created_at
    ends = (("Queued", 0), ("Building", 11), ("Deploying", BUILT_IN_S), ("Success", BUILT_IN_S))
    stages, before = [], start
    for name, seconds in ends:
        end = start + timedelta(seconds=seconds)
        stages.append(ExampleStage(name, "completed", before, end))
        before = end
    return stages


def _lines() -> list[dict[str, Any]]:
    return [
        {"seq": number, "time": time, "level": level, "html": ansi.to_html(text)}
        for number, (time, level, text) in enumerate(LOG, 1)
    ]
