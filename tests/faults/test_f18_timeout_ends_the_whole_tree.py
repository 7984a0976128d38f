"""Row 18: build timeout → the whole process tree is dead, `setsid` children included."""

from __future__ import annotations

from pathlib import Path

import psutil

from autostack.agent.sandbox import FIRST_UID
from tests.agents import make_site

DAEMONS = """
setsid sh -c 'while :; do sleep 0.1; done' >/dev/null 2>&1 &
nohup sh -c '(while :; do sleep 0.1; done) &' >/dev/null 2>&1 &
echo started; trap '' TERM INT HUP; while :; do sleep 1; done
"""


def processes_of(slot: int) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if process.uids().real == FIRST_UID + slot]


def test_f18_a_build_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    settings = {"buildCommand": DAEMONS, "outputDir": "."}
    with make_site(tmp_path, {"index.html": "hi"}, settings=settings, limits={"timeoutMs": 3_000}) as site:
        assert site.build(timeout_s=30) == 0
        reason = "The build took longer than 3s and was stopped"
        assert site.web.finished == {"outcome": "failed", "reason": reason}
        assert "started" in site.web.texts
        assert processes_of(site.slot) == []


def test_f18_daemons_of_a_build_that_ends_by_itself_are_dead_too(tmp_path: Path) -> None:
    settings = {"buildCommand": DAEMONS.partition("echo")[0], "outputDir": "."}
    with make_site(tmp_path, {"index.html": "hi"}, settings=settings) as site:
        assert site.build(timeout_s=30) == 0
        assert site.web.finished == {"outcome": "built", "reason": None}
        assert processes_of(site.slot) == []


def test_f18_a_killed_agent_leaves_nothing_running(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "hi"}, settings={"buildCommand": DAEMONS, "outputDir": "."}) as site:
        agent = site.start()
        site.web.wait_for_line("started")
        running = processes_of(site.slot)
        assert running
        agent.kill()
        agent.wait()
        assert psutil.wait_procs(running, timeout=10)[1] == []
