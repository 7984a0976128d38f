"""Row 18: build timeout → the whole process tree is dead, `setsid` children included."""

from __future__ import annotations

from pathlib import Path

import psutil

from autostack.agent.sandbox import FIRST_UID
from tests.agents import make_site
from tests.processes import processes_of_user

# The log shows the command before it runs: what it prints is not in it word for word.
DAEMONS = """
setsid sh -c 'while :; do sleep 0.1; done' >/dev/null 2>&1 &
nohup sh -c '(while :; do sleep 0.1; done) &' >/dev/null 2>&1 &
echo st''arted; trap '' TERM INT HUP; while :; do sleep 1; done
"""


def test_f18_a_build_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    settings = {"buildCommand": DAEMONS, "outputDir": "."}
    with make_site(tmp_path, {"index.html": "hi"}, settings=settings, limits={"timeoutMs": 20_000}) as site:
        assert site.build() == 0
        reason = "The build took longer than 20s and was stopped"
        assert site.web.finished == {"outcome": "failed", "reason": reason}
        assert "started" in site.web.texts
        assert processes_of_user(FIRST_UID + site.slot) == []


def test_f18_daemons_of_a_build_that_ends_by_itself_are_dead_too(tmp_path: Path) -> None:
    settings = {"buildCommand": DAEMONS.partition("echo")[0], "outputDir": "."}
    with make_site(tmp_path, {"index.html": "hi"}, settings=settings) as site:
        assert site.build() == 0
        assert site.web.finished == {"outcome": "built", "reason": None}
        assert processes_of_user(FIRST_UID + site.slot) == []


def test_f18_a_killed_agent_leaves_nothing_running(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "hi"}, settings={"buildCommand": DAEMONS, "outputDir": "."}) as site:
        agent = site.start()
        site.web.wait_for_line("started")
        running = processes_of_user(FIRST_UID + site.slot)
        assert running
        agent.kill()
        agent.wait()
        assert psutil.wait_procs(running, timeout=60)[1] == []
