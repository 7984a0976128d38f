"""Row 52, the agent's half: a 1 GB line, ANSI escapes, invalid UTF-8, a flood → bounded and clean."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from tests.agents import make_site

MAX_AGENT_BYTES = 300_000_000


def test_f52_a_line_of_a_gigabyte_is_cut_and_the_agent_stays_small(tmp_path: Path) -> None:
    settings = {"buildCommand": "head -c 1000000000 /dev/zero | tr '\\0' a; echo; echo after", "outputDir": "."}
    with make_site(tmp_path, {"index.html": ""}, settings=settings) as site:
        agent = site.start()
        largest = 0
        while agent.poll() is None:
            largest = max(largest, psutil.Process(agent.pid).memory_info().rss)
            time.sleep(0.05)
        assert largest < MAX_AGENT_BYTES
        line = next(text for text in site.web.texts if text.startswith("aaaa"))
        assert len(line.encode()) <= 10_000
        assert line.endswith(" … [line cut: 999,990,000 bytes more]")
        assert "after" in site.web.texts


def test_f52_escapes_and_invalid_text_are_made_harmless(tmp_path: Path) -> None:
    printed = (
        r"printf '\033[31mred\033[0m \033[2Jclear \033]0;title\007done\n';"
        r"printf 'bad \377\376 bytes\n'; printf '10%%\r50%%\r100%%\n'; printf 'bell\007 nul\000 back\010\n';"
        r"printf '<script>alert(1)</script>\n'; printf 'windows\r\n'; printf 'no end'"
    )
    with make_site(tmp_path, {"index.html": ""}, settings={"buildCommand": printed, "outputDir": "."}) as site:
        site.build()
        texts = site.web.texts
        assert "\x1b[31mred\x1b[0m clear done" in texts
        assert "bad \ufffd\ufffd bytes" in texts
        for line in ("100%", "bell nul back", "<script>alert(1)</script>", "windows", "no end"):
            assert line in texts


def test_f52_a_flood_ends_with_one_notice(tmp_path: Path) -> None:
    settings = {"buildCommand": "yes flood | head -c 20000000", "outputDir": "."}
    with make_site(tmp_path, {"index.html": ""}, settings=settings, limits={"maxLogBytes": 100_000}) as site:
        site.build()
        notice = "The log reached its limit of 0.1 MB: further output is not kept."
        assert site.web.texts.count(notice) == 1
        assert sum(len(text) + 1 for text in site.web.texts if text == "flood") <= 100_000
        assert site.web.finished == {"outcome": "built", "reason": None}


def test_f52_a_flood_waits_while_web_is_away_and_nothing_is_lost(tmp_path: Path) -> None:
    settings = {"buildCommand": "seq 1 60000", "outputDir": "."}
    with make_site(tmp_path, {"index.html": ""}, settings=settings) as site:
        site.web.faults.stall_logs.set()
        agent = site.start()
        time.sleep(3)
        assert agent.poll() is None
        assert psutil.Process(agent.pid).memory_info().rss < MAX_AGENT_BYTES
        site.web.faults.stall_logs.clear()
        assert agent.wait(500) == 0
        assert [text for text in site.web.texts if text.isdigit()] == [str(number) for number in range(1, 60_001)]
