"""Row 45: fork bomb, memory hog, disk, inode and descriptor fill → that build fails, the one beside it passes."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from autostack.agent.sandbox import FIRST_UID
from tests.agents import make_site

LIMITS = {
    "maxProcesses": 64,
    "maxMemoryBytes": 256_000_000,
    "maxDiskBytes": 50_000_000,
    "timeoutMs": 20_000,
    "maxFiles": 1_000,
}
NODE = "node --max-old-space-size=2000 -e"


@pytest.mark.parametrize(
    "command, reason",
    [
        (
            "perl -e 'for(;;){fork||sleep 30}'",
            "The build started more than 64 processes and threads and was stopped",
        ),
        (
            "while :; do sleep 30 & done",
            "`while :; do sleep 30 & done` ended with exit code 2: it reached the limit of 64 processes and threads",
        ),
        (
            f"{NODE} 'const a=[];for(;;)a.push(Buffer.alloc(1e6,1))'",
            "The build used more than 256 MB of memory and was stopped",
        ),
        (
            "i=0; while :; do i=$((i+1)); head -c 9000000 /dev/zero > fill-$i; done",
            "The build used more than 50 MB of disk and was stopped",
        ),
        (
            f"{NODE} 'let i=0;const fs=require(`fs`);for(;;)fs.writeFileSync(`/tmp/`+i++,``)'",
            "The build made more than 12,207 files and was stopped",
        ),
    ],
    ids=["fork bomb", "short-lived fork bomb", "memory hog", "full disk", "inodes"],
)
def test_f45_a_build_that_takes_everything_is_stopped_and_its_neighbour_passes(
    tmp_path: Path, command: str, reason: str
) -> None:
    greedy = {"buildCommand": command, "outputDir": "."}
    modest = {"buildCommand": "sleep 2; echo fine", "outputDir": "."}
    with (
        make_site(tmp_path / "greedy", {"index.html": "hi"}, settings=greedy, limits=LIMITS) as bad,
        make_site(tmp_path / "modest", {"index.html": "hi"}, settings=modest) as good,
    ):
        good.slot = (bad.slot + 500) % 1000
        agent = bad.start()
        try:
            assert good.build() == 0
            assert agent.wait(60) == 0
        finally:
            agent.kill()
        assert good.web.finished == {"outcome": "built", "reason": None}
        assert bad.web.finished == {"outcome": "failed", "reason": reason}
        assert [process for process in psutil.process_iter() if process.uids().real == FIRST_UID + bad.slot] == []
        assert list(bad.work_dir.iterdir()) == []


def test_f45_memory_in_files_without_a_name_counts(tmp_path: Path) -> None:
    hide = "exec 3<> hidden; rm hidden; i=0; while :; do head -c 9000000 /dev/zero >&3; done"
    with make_site(tmp_path, {"a": ""}, settings={"buildCommand": hide, "outputDir": "."}, limits=LIMITS) as site:
        site.build()
        assert site.web.finished is not None
        assert site.web.finished["outcome"] == "failed"


def test_f45_descriptors_are_limited(tmp_path: Path) -> None:
    fill = "const fs=require('fs');let n=0;try{for(;;){fs.openSync('/dev/null');n++}}catch(e){console.log(e.code)}"
    with make_site(tmp_path, {"a": ""}, settings={"buildCommand": f'node -e "{fill}"', "outputDir": "."}) as site:
        site.build()
        assert "EMFILE" in site.web.texts
        assert site.web.finished == {"outcome": "built", "reason": None}


def test_f45_a_tree_deeper_than_any_path_is_stopped_and_removed(tmp_path: Path) -> None:
    dig = "name=$(printf '%0200d' 0); for i in $(seq 1 60); do mkdir $name && cd -P $name 2>/dev/null; done; sleep 30"
    with make_site(tmp_path, {"a": ""}, settings={"buildCommand": dig, "outputDir": "."}, limits=LIMITS) as site:
        site.build()
        reason = "The build made folders nested deeper than a path can name and was stopped"
        assert site.web.finished == {"outcome": "failed", "reason": reason}
        assert list(site.work_dir.iterdir()) == []
