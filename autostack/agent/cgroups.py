"""A control group for one build (cgroups(7)): the kernel holds it to its memory and processes, and ends nothing else.

Version 2 where a group was delegated to us, version 1 where we may write to it. Where there is neither, rlimits and the
watcher (`guards`) are what a build is held by.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from autostack.agent.guards import too_many_processes, too_much_memory
from autostack.agent.order import Limits

PREFIX = "autostack-"
# Bubblewrap's two of a sandbox, of which two may run at once.
OWN_PROCESSES = 4
# Beside the 100 that our own processes have: when a machine is busy, pages and sites come before builds.
CPU_WEIGHT = 50
# The kernel counts in pages, and charges several at once.
NEARLY_ALL = 0.98
NEEDED = ("memory", "pids")


@dataclass(frozen=True)
class Kind:
    """What the files of a version are called: limit, what became of who wanted more, most that was used."""

    memory_limit: str
    memory_events: str
    memory_peak: str


V1 = Kind("memory.limit_in_bytes", "memory.oom_control", "memory.max_usage_in_bytes")
V2 = Kind("memory.max", "memory.events", "memory.peak")


class Group:
    """The group of one build, of no process as long as nothing runs. It is a guard, too."""

    def __init__(self, kind: Kind, memory: Path, pids: Path, limits: Limits) -> None:
        self._kind = kind
        self._memory = memory
        self._pids = pids
        self._limits = limits

    @classmethod
    def make(cls, place: Place, limits: Limits) -> Group:
        """Make the group. Raises OSError."""
        for folder in place.folders:
            _remove_left_over(folder)
        name = f"{PREFIX}{os.getpid()}"
        group = cls(place.kind, place.memory / name, place.pids / name, limits)
        for folder in group.folders:
            folder.mkdir(exist_ok=True)
        try:
            group._set_limits()
        except OSError:
            group.close()
            raise
        return group

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys((self._memory, self._pids)))

    def __call__(self, tree: psutil.Process) -> str | None:
        current = int((self._pids / "pids.current").read_text())
        if current >= self._limits.max_processes + OWN_PROCESSES:
            return too_many_processes(self._limits)
        return self.out_of_memory()

    def out_of_memory(self) -> str | None:
        """Return why the build must end, if the kernel ended a process of it for its memory."""
        killed = _counts(self._memory / self._kind.memory_events).get("oom_kill", 0)
        return too_much_memory(self._limits) if killed and self._reached_its_limit() else None

    def refused_processes(self) -> int:
        """Return how often the kernel refused the build another process or thread."""
        return _counts(self._pids / "pids.events").get("max", 0)

    def close(self) -> None:
        """Remove the group. What is not empty by now, an agent after us removes."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _reached_its_limit(self) -> bool:
        """Tell whether the build's memory ran out, and not the machine's. Before Linux 5.19 that is not known."""
        peak = _counts(self._memory / self._kind.memory_peak).get("")
        return peak is None or peak >= NEARLY_ALL * self._limits.max_memory_bytes

    def _set_limits(self) -> None:
        limit = self._limits.max_memory_bytes
        (self._memory / self._kind.memory_limit).write_text(str(limit))
        (self._pids / "pids.max").write_text(str(self._limits.max_processes + OWN_PROCESSES))
        # What a kernel without swap, and a group without a share of the processor, lacks. Swap would be more memory.
        more = {"memory.memsw.limit_in_bytes": limit, "memory.swap.max": 0, "cpu.weight": CPU_WEIGHT}
        for name, value in more.items():
            with contextlib.suppress(OSError):
                if (self._memory / name).exists():
                    (self._memory / name).write_text(str(value))


@dataclass(frozen=True)
class Place:
    """Where groups can be made."""

    kind: Kind
    memory: Path
    pids: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys((self.memory, self.pids)))


@dataclass(frozen=True)
class Hierarchy:
    """A mounted tree of groups: the group of ours in it, and its path as the kernel tells it."""

    folder: Path
    path: str


def find_place(proc: Path = Path("/proc/self")) -> Place | None:
    """Return where this process can make groups that the kernel holds to memory and processes, or None."""
    own = dict(_hierarchies(proc))
    return _delegated(own[""]) if "" in own and _offers(own[""].folder) else _of_version_1(own)


def make_group(limits: Limits) -> Group | None:
    """Return a group of the build's own where this machine lets us make one."""
    place = find_place()
    try:
        return Group.make(place, limits) if place else None
    except OSError:
        return None


def _of_version_1(own: Mapping[str, Hierarchy]) -> Place | None:
    if not all(name in own and os.access(own[name].folder, os.W_OK) for name in NEEDED):
        return None
    return Place(V1, own["memory"].folder, own["pids"].folder)


def _offers(folder: Path, file: str = "cgroup.controllers") -> bool:
    try:
        return set(NEEDED) <= set((folder / file).read_text().split())
    except OSError:
        return False


def _delegated(own: Hierarchy) -> Place | None:
    """Return the group above ours if it is ready for others (as systemd's DelegateSubgroup= has it), else ours."""
    above = own.folder.parent
    if own.path != "/" and _is_delegated(above) and _offers(above) and _hand_on(above):
        return Place(V2, above, above)
    if (own.path == "/" or _is_delegated(own.folder)) and _hand_on(own.folder):
        return Place(V2, own.folder, own.folder)
    return None


def _is_delegated(folder: Path) -> bool:
    """Tell whether systemd has said that a group is its service's to use."""
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def _hand_on(folder: Path) -> bool:
    """Have groups in `folder` be held to limits; tell whether they are."""
    if not os.access(folder, os.W_OK):
        return False
    if _offers(folder, "cgroup.subtree_control"):
        return True
    try:
        _write_controllers(folder)
    except OSError as error:
        if error.errno != errno.EBUSY:
            return False
        # Only a group without processes may hand limits on: ours go to one beside those of builds.
        with contextlib.suppress(OSError):
            _move_all(folder, folder / f"{PREFIX}own")
            _write_controllers(folder)
    return _offers(folder, "cgroup.subtree_control")


def _write_controllers(folder: Path) -> None:
    control = folder / "cgroup.subtree_control"
    control.write_text(" ".join(f"+{name}" for name in NEEDED))
    with contextlib.suppress(OSError):
        control.write_text("+cpu")


def _move_all(folder: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    while members := (folder / "cgroup.procs").read_text().split():
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                (target / "cgroup.procs").write_text(pid)


def _hierarchies(proc: Path) -> Iterator[tuple[str, Hierarchy]]:
    """Yield this process's groups by their controllers; the one of version 2 by an empty name."""
    mounts = dict(_mounts((proc / "mountinfo").read_text()))
    for line in (proc / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in mounts:
                root, point = mounts[name]
                # In a container the mount may show no more than the container's group.
                below = path if root == "/" else path.removeprefix(root)
                folder = point / below.lstrip("/")
                if folder.is_dir():
                    yield name, Hierarchy(folder, path)


def _mounts(text: str) -> Iterator[tuple[str, tuple[str, Path]]]:
    """Yield root and mount point of each hierarchy, by its controllers (proc_pid_mountinfo(5))."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        root, point = (_unescape(field) for field in before.split(" ")[3:5])
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            yield "", (root, Path(point))
        elif kind == "cgroup":
            for name in options.split(","):
                yield name, (root, Path(point))


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _counts(file: Path) -> dict[str, int]:
    """Read lines such as `oom_kill 2`; a number alone has an empty name."""
    try:
        found = [line.rpartition(" ") for line in file.read_text().splitlines()]
    except FileNotFoundError:
        return {}
    return {name: int(value) for name, _, value in found}


def _remove_left_over(folder: Path) -> None:
    """Remove the groups of agents that were killed."""
    for group in folder.glob(f"{PREFIX}[0-9]*"):
        if not psutil.pid_exists(int(group.name.removeprefix(PREFIX))) or group.name == f"{PREFIX}{os.getpid()}":
            with contextlib.suppress(OSError):
                group.rmdir()
