"""Where a build's control group is made, and what it holds: folders stand for the kernel's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from autostack.agent.cgroups import OWN_PROCESSES, V1, V2, Group, Place, find_place
from autostack.agent.runner import TRIAL

LIMITS = replace(TRIAL, max_memory_bytes=1_000_000, max_processes=64)
OFFERED = "cpu memory pids"


class Machine:
    """A `/proc/self` and what is mounted, below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc = folder / "proc"
        self.proc.mkdir()
        self._mounts: list[str] = []
        self._groups: list[str] = []

    def hierarchy(self, kind: str, names: str, path: str, root: str = "/") -> Path:
        """Mount a hierarchy, of which this process is in the group `path`; return that group's folder."""
        point = self.folder / f"{kind} {names}"
        group = point / path.removeprefix(root if root != "/" else "").lstrip("/")
        group.mkdir(parents=True)
        mounted = str(point).replace(" ", "\\040")
        self._mounts.append(f"30 23 0:27 {root} {mounted} rw,nosuid - {kind} {kind} rw,{names}")
        self._groups.append(f"{len(self._groups)}:{names}:{path}")
        (self.proc / "mountinfo").write_text("\n".join(self._mounts))
        (self.proc / "cgroup").write_text("\n".join(self._groups))
        return group

    def version_2(self, path: str, controllers: str = OFFERED, handed_on: str = "") -> Path:
        group = self.hierarchy("cgroup2", "", path)
        (group / "cgroup.controllers").write_text(controllers)
        (group / "cgroup.subtree_control").write_text(handed_on)
        return group

    @property
    def place(self) -> Place | None:
        return find_place(self.proc)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_groups_of_version_1_are_made_below_our_own_of_each_controller(machine: Machine) -> None:
    memory = machine.hierarchy("cgroup", "memory", "/us")
    pids = machine.hierarchy("cgroup", "pids", "/")
    assert machine.place == Place(V1, memory, pids)


def test_a_container_is_shown_no_more_than_its_own_group(machine: Machine) -> None:
    memory = machine.hierarchy("cgroup", "memory", "/docker/1f", root="/docker/1f")
    pids = machine.hierarchy("cgroup", "pids", "/docker/1f", root="/docker/1f")
    assert memory.name == "cgroup memory"
    assert machine.place == Place(V1, memory, pids)


def test_one_controller_is_not_enough(machine: Machine) -> None:
    machine.hierarchy("cgroup", "memory", "/us")
    assert machine.place is None
    machine.version_2("/us", controllers="hugetlb")
    assert machine.place is None


def test_a_group_of_version_2_is_used_where_it_is_ours_to_use(machine: Machine) -> None:
    # The root of what a container sees.
    own = machine.version_2("/", handed_on=OFFERED)
    assert machine.place == Place(V2, own, own)


def test_a_group_that_systemd_keeps_for_itself_is_left_alone(machine: Machine) -> None:
    own = machine.version_2("/system.slice/autostack.service", handed_on=OFFERED)
    assert machine.place is None
    _delegate(own)
    assert machine.place == Place(V2, own, own)


def test_a_subgroup_of_a_delegated_group_has_builds_beside_it(machine: Machine) -> None:
    own = machine.version_2("/system.slice/autostack.service/own")
    for name, text in {"cgroup.controllers": OFFERED, "cgroup.subtree_control": OFFERED}.items():
        (own.parent / name).write_text(text)
    _delegate(own.parent)
    assert machine.place == Place(V2, own.parent, own.parent)


def _delegate(folder: Path) -> None:
    try:
        os.setxattr(folder, "user.delegate", b"1")
    except OSError:
        pytest.skip("this filesystem keeps no attributes")


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group.make(Place(V2, tmp_path, tmp_path), LIMITS)


def test_a_group_has_the_builds_limits(group: Group, tmp_path: Path) -> None:
    (folder,) = group.folders
    assert folder == tmp_path / f"autostack-{os.getpid()}"
    assert (folder / "memory.max").read_text() == "1000000"
    assert (folder / "pids.max").read_text() == str(64 + OWN_PROCESSES)


def test_a_build_is_out_of_memory_when_it_had_all_that_it_may_have(group: Group) -> None:
    (folder,) = group.folders
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 0\n")
    (folder / "memory.peak").write_text("999424\n")
    assert group.out_of_memory() is None
    (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.out_of_memory() == "The build used more than 1 MB of memory and was stopped"
    # The machine ran out of memory: whom the kernel chose then need not have had too much.
    (folder / "memory.peak").write_text("500000\n")
    assert group.out_of_memory() is None


def test_what_the_kernel_refused_is_known(group: Group) -> None:
    (folder,) = group.folders
    assert group.refused_processes() == 0
    (folder / "pids.events").write_text("max 3\n")
    assert group.refused_processes() == 3


def test_groups_of_agents_that_are_gone_are_removed(tmp_path: Path) -> None:
    for name in ("autostack-4194305", "autostack-1", "other"):
        (tmp_path / name).mkdir()
    Group.make(Place(V1, tmp_path, tmp_path), LIMITS)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(
        [f"autostack-{os.getpid()}", "autostack-1", "other"]
    )
