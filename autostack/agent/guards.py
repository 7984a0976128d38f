"""What a running build may not do: take too long, too many processes, too much memory or disk."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from autostack.agent.order import Limits
from autostack.agent.text import duration, size

DISK_INTERVAL_S = 5.0
# A build that fills the disk with empty files is as bad as one that fills it with bytes.
BYTES_PER_INODE = 4_096


class Cancelled:
    """Stops the tree once `event` is set. The reason is never shown: nobody waits for this build any more."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, tree: psutil.Process) -> str | None:
        return "The build was stopped" if self._event.is_set() else None


class Deadline:
    """Wall-clock time for the whole build, from the moment that this is made."""

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._ends = time.monotonic() + timeout_ms / 1000

    @property
    def reason(self) -> str:
        return f"The build took longer than {duration(self._timeout_ms)} and was stopped"

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self._ends

    def __call__(self, tree: psutil.Process) -> str | None:
        return self.reason if self.has_passed else None


def too_many_processes(limits: Limits) -> str:
    return f"The build started more than {limits.max_processes:,} processes and threads and was stopped"


def too_much_memory(limits: Limits) -> str:
    return f"The build used more than {size(limits.max_memory_bytes)} of memory and was stopped"


class Processes:
    """Processes and threads of the tree. The kernel refuses more (RLIMIT_NPROC); a bomb that goes on is stopped."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max = limits.max_processes

    def __call__(self, tree: psutil.Process) -> str | None:
        count = 0
        for process in _descendants(tree):
            count += _threads(process)
            if count >= self._max:
                return too_many_processes(self._limits)
        return None


class Memory:
    """Memory of the tree. Pages that processes share are counted once, when it comes to that."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max = limits.max_memory_bytes

    def __call__(self, tree: psutil.Process) -> str | None:
        processes = list(_descendants(tree))
        if sum(map(_resident, processes)) <= self._max or sum(map(_proportional, processes)) <= self._max:
            return None
        return too_much_memory(self._limits)


class Disk:
    """Bytes and files in the build's folders, with files that were deleted but are still open.

    To walk the folders costs much, to ask the filesystem how much it has left costs nothing: a build can only have
    reached its limit if the filesystem lost as much as was left to it at the last walk. As other builds delete
    files meanwhile, a walk is due every few seconds in any case.
    """

    def __init__(self, folders: Sequence[Path], limits: Limits) -> None:
        self._folders = folders
        self._max_bytes = limits.max_disk_bytes
        self._max_files = max(limits.max_disk_bytes // BYTES_PER_INODE, limits.max_files)
        self._walk_due = 0.0
        self._free_limit = 0

    def __call__(self, tree: psutil.Process) -> str | None:
        free = self._free()
        if time.monotonic() < self._walk_due and free > self._free_limit:
            return None
        started = time.monotonic()
        try:
            used_bytes, used_files = self._use(tree)
        except Unwalkable as error:
            return str(error)
        # A large tree is walked less often, so that watching takes a tenth of one core at most.
        self._walk_due = time.monotonic() + max(DISK_INTERVAL_S, 10 * (time.monotonic() - started))
        self._free_limit = free - (self._max_bytes - used_bytes)
        return self._judge(used_bytes, used_files)

    def _free(self) -> int:
        stat = os.statvfs(self._folders[0])
        return stat.f_bfree * stat.f_frsize

    def _judge(self, used_bytes: int, used_files: int) -> str | None:
        if used_bytes > self._max_bytes:
            return f"The build used more than {size(self._max_bytes)} of disk and was stopped"
        if used_files > self._max_files:
            return f"The build made more than {self._max_files:,} files and was stopped"
        return None

    def _use(self, tree: psutil.Process) -> tuple[int, int]:
        used_bytes, used_files = _deleted_but_open(tree), 0
        for stat in walk(self._folders):
            used_files += 1
            # A file with several names is counted in parts.
            used_bytes += stat.st_blocks * 512 // max(stat.st_nlink, 1)
            if used_bytes > self._max_bytes or used_files > self._max_files:
                break
        return used_bytes, used_files


class Unwalkable(Exception):
    """What a folder holds cannot be counted, so that the build must stop: the message is the reason."""


def walk(folders: Sequence[Path]) -> Iterator[os.stat_result]:
    """Yield the status of everything below `folders`. No link is followed; what vanishes meanwhile is passed over."""
    pending = [str(folder) for folder in folders]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise Unwalkable("The build made a folder that cannot be looked into and was stopped") from error
        except OSError as error:
            raise Unwalkable("The build made folders nested deeper than a path can name and was stopped") from error


def _descendants(tree: psutil.Process) -> Iterator[psutil.Process]:
    try:
        yield from tree.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def _threads(process: psutil.Process) -> int:
    try:
        return int(process.num_threads())
    except psutil.Error:
        return 0


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return _resident(process)
    except psutil.Error:
        return 0


def _deleted_but_open(tree: psutil.Process) -> int:
    """Return the bytes of regular files that have no name any more (memory files too), each counted once."""
    sizes: dict[tuple[int, int], int] = {}
    for process in _descendants(tree):
        for stat in _open_files(process.pid):
            if stat.st_nlink == 0:
                sizes[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(sizes.values())


def _open_files(pid: int) -> Iterator[os.stat_result]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                yield os.stat(entry.path)
    except OSError:
        return
