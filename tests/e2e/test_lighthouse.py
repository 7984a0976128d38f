"""What Lighthouse says of the first pages that somebody sees, on the phone and the network that it simulates.

A score is no time: Lighthouse computes it from what a page loads and in which order, and how long this machine's
processor was busy with it. The latter makes it vary while other work goes on, so the median of three runs counts, and
the processor is not slowed down further: Lighthouse would do so by four, for a workstation to be like a phone, and what
runs tests beside a whole product is no faster than that.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import pytest

from tests.git_server import GitServer, make_repository
from tests.stack import PASSWORD, Stack

LIGHTHOUSE = Path(__file__).parents[1] / "lighthouse" / "node_modules" / ".bin" / "lighthouse"
CATEGORIES = ("performance", "accessibility", "best-practices")
EMAIL = "measured@example.com"
LEAST = 0.95
RUNS = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cookie(stack: Stack, git: GitServer, folder: Path) -> str:
    """The session of somebody who has deployed."""
    make_repository(folder / "measured", {"index.html": "<h1>hi</h1>"})
    stack.sign_up(EMAIL)
    stack.ended(stack.deploy(git.url("measured")))
    with httpx2.Client(base_url=f"http://localhost:{stack.port}", trust_env=False, timeout=30) as browser:
        token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', browser.get("/login").text)
        assert token is not None
        fields = {"csrf_token": token[1], "email": EMAIL, "password": PASSWORD}
        assert browser.post("/login", data=fields).headers["Location"].endswith("/dashboard")
        return f"session={browser.cookies['session']}"


def measure(url: str, headers: Mapping[str, str], report: Path) -> dict[str, Any]:
    """Return what Lighthouse reports of one visit."""
    command = [
        *(str(LIGHTHOUSE), url, "--quiet", "--output=json", f"--output-path={report}"),
        *(f"--only-categories={','.join(CATEGORIES)}", "--throttling-method=simulate"),
        "--throttling.cpuSlowdownMultiplier=1",
        *("--chrome-flags=--headless=new --no-sandbox --disable-gpu", f"--extra-headers={json.dumps(headers)}"),
    ]
    program = shutil.which("chromium") or shutil.which("google-chrome")
    subprocess.run(command, env={**os.environ, "CHROME_PATH": str(program)}, check=True, timeout=180)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def lost(report: Mapping[str, Any], category: str) -> list[str]:
    """Return what cost a category points."""
    weighed = [one["id"] for one in report["categories"][category]["auditRefs"] if one["weight"]]
    audits = [report["audits"][id] for id in weighed]
    return [f"{a['title']}: {a.get('displayValue', '')} {a['score']}" for a in audits if (a["score"] or 0) < 1]


@pytest.mark.parametrize("path", ["/", "/dashboard"])
def test_lighthouse_finds_nothing_to_speak_of(path: str, stack: Stack, cookie: str, tmp_path: Path) -> None:
    headers = {} if path == "/" else {"Cookie": cookie}
    url = f"http://localhost:{stack.port}{path}"
    reports = [measure(url, headers, tmp_path / f"{run}.json") for run in range(RUNS)]
    assert {report["finalDisplayedUrl"] for report in reports} == {url}
    for category in CATEGORIES:
        scores = [report["categories"][category]["score"] for report in reports]
        assert median(scores) >= LEAST, (category, scores, [lost(report, category) for report in reports])
