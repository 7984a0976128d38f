"""Row 45: fork bomb, memory hog, disk, inode and descriptor fill → that build fails, the one beside it passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostack.agent.cgroups import find_place
from autostack.agent.sandbox import FIRST_UID
from tests.agents import make_site
from tests.integration.test_embedded_services import as_root
from tests.processes import processes_of_user

LIMITS = {
    "maxProcesses": 64,
    "maxMemoryBytes": 256_000_000,
    "maxDiskBytes": 50_000_000,
    "timeoutMs": 240_000,
    "maxFiles": 1_000,
}
NODE = "node --max-old-space-size=2000 -e"


@pytest.mark.parametrize(
    "command, reasons",
    [
        (
            "perl -e 'for(;;){fork||sleep 600}'",
            ("The build started more than 64 processes and threads and was stopped",),
        ),
        (
            "while :; do sleep 600 & done",
            # The shell gives up by itself at the limit, unless it is seen there first.
            (
                "`while :; do sleep 600 & done` ended with exit code 2: "
                "it reached the limit of 64 processes and threads",
                "The build started more than 64 processes and threads and was stopped",
            ),
        ),
        (
            f"{NODE} 'const a=[];for(;;)a.push(Buffer.alloc(1e6,1))'",
            ("The build used more than 256 MB of memory and was stopped",),
        ),
        (
            "i=0; while :; do i=$((i+1)); head -c 9000000 /dev/zero > fill-$i; done",
            ("The build used more than 50 MB of disk and was stopped",),
        ),
        (
            f"{NODE} 'let i=0;const fs=require(`fs`);for(;;)fs.writeFileSync(`/tmp/`+i++,``)'",
            ("The build made more than 12,207 files and was stopped",),
        ),
    ],
    ids=["fork bomb", "short-lived fork bomb", "memory hog", "full disk", "inodes"],
)
def test_f45_a_build_that_takes_everything_is_stopped_and_its_neighbour_passes(
    tmp_path: Path, command: str, reasons: tuple[str, ...]
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
            assert agent.wait(500) == 0
        finally:
            agent.kill()
        assert good.web.finished == {"outcome": "built", "reason": None}
        assert bad.web.finished in [{"outcome": "failed", "reason": reason} for reason in reasons]
        assert processes_of_user(FIRST_UID + bad.slot) == []
        assert list(bad.work_dir.iterdir()) == []


@as_root
@pytest.mark.parametrize(
    "command, reason",
    [
        ("perl -e 'for(;;){fork||sleep 600}'", "The build started more than 64 processes and threads and was stopped"),
        (
            f"{NODE} 'const a=[];for(;;)a.push(Buffer.alloc(1e6,1))'",
            "The build used more than 256 MB of memory and was stopped",
        ),
    ],
    ids=["fork bomb", "memory hog"],
)
def test_f45_a_machine_that_makes_no_control_groups_has_the_watcher(tmp_path: Path, command: str, reason: str) -> None:
    settings = {"buildCommand": command, "outputDir": "."}
    with make_site(tmp_path, {"index.html": "hi"}, settings=settings, limits=LIMITS) as site:
        # As in a container, to which the kernel's groups are not shown.
        site.prefix = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh")
        site.build()
        assert site.web.finished == {"outcome": "failed", "reason": reason}


def test_f45_a_build_is_in_a_control_group_of_its_own_and_does_not_learn_of_others(tmp_path: Path) -> None:
    command = "cut -d: -f3 /proc/self/cgroup | sort -u"
    place = find_place()
    with make_site(tmp_path, {"a": ""}, settings={"buildCommand": command, "outputDir": "."}) as site:
        agent = site.start()
        agent.wait(500)
        assert site.web.finished == {"outcome": "built", "reason": None}
        groups = [text for text in site.web.texts if text.startswith("/")]
        assert groups == (["/"] if place else groups), site.web.log
        assert not place or not (place.memory / f"autostack-{agent.pid}").exists()


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
    dig = "name=$(printf '%0200d' 0); for i in $(seq 1 60); do mkdir $name && cd -P $name 2>/dev/null; done; sleep 600"
    with make_site(tmp_path, {"a": ""}, settings={"buildCommand": dig, "outputDir": "."}, limits=LIMITS) as site:
        site.build()
        reason = "The build made folders nested deeper than a path can name and was stopped"
        assert site.web.finished == {"outcome": "failed", "reason": reason}
        assert list(site.work_dir.iterdir()) == []
