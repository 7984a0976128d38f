"""Folders that outlast a build on this machine: unpacked `node_modules`, and mirrors of repositories.

A folder is at one place at a time: on the shelf, or with the one build that took it. Who may take it
is decided by its tag: that of the archive that it came from, which web gives to those who may read that archive and to
nobody else, or that of the project whose mirror it is.
What fails here is as if there were nothing: a build then takes longer.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from autostack.agent.errors import InfrastructureError
from autostack.agent.files import remove_tree
from autostack.agent.guards import Unwalkable, walk

MAX_FOLDERS = 100
MAX_AGE_S = 7 * 86_400
# What a filesystem has for each file that it has room for: many empty files are as bad as a large one.
BYTES_PER_INODE = 16_384
NAME = re.compile(r"([a-z]+-[0-9a-f]{40})\.([0-9a-f]{64})\.([0-9]{1,15})")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Entry:
    """One folder of the shelf; `size` in bytes, with the files counted."""

    path: Path
    key: str
    tag: str
    size: int
    used_at: float


class Shelf:
    """Folders by key and tag, the oldest let go of when together they are larger than `max_bytes`.

    None of them is larger than `max_folder_bytes`.

    `root` must be on the filesystem of the builds' own folders: what is moved here and back is never copied.
    """

    def __init__(self, root: Path, max_bytes: int, max_folder_bytes: int | None = None) -> None:
        self._root = root
        # What was not on the disk yet when a machine stopped is empty files now: nothing outlasts a start.
        self._folder = root / BOOT_ID.read_text().strip()
        self._max_bytes = max_bytes
        self._max_folder_bytes = max_bytes if max_folder_bytes is None else max_folder_bytes
        self._kept: dict[Path, str] = {}

    def tags(self, key: str) -> list[str]:
        """Return the tags of the folders that are there for a key."""
        return [entry.tag for entry in self._entries() if entry.key == key]

    def takes(self, folder: Path) -> bool:
        """Tell whether a folder is small enough."""
        try:
            return _size(folder, self._max_folder_bytes) > 0
        except (OSError, Unwalkable):
            return False

    def take(self, key: str, tag: str, target: Path, uid: int | None) -> bool:
        """Move a folder to `target`, which is empty, for `uid` until `put_back`; return whether it still was there.

        Raises OSError, InfrastructureError.
        """
        for entry in self._entries():
            if (entry.key, entry.tag) == (key, tag):
                try:
                    entry.path.rename(target)
                except FileNotFoundError:  # Another build was quicker.
                    return False
                _give(target, uid)
                self.keep(key, tag, target)
                return True
        return False

    def keep(self, key: str, tag: str, folder: Path) -> None:
        """Have a folder put on the shelf at the end of the build. One without a tag could never be asked for."""
        if tag:
            self._kept[folder] = f"{key}.{tag}"

    def drop(self, folder: Path) -> None:
        """Do not keep a folder after all."""
        self._kept.pop(folder, None)

    def put_back(self) -> None:
        """Move to the shelf what was taken or is to be kept, if it has no such folder."""
        for folder, name in self._kept.items():
            try:
                self._put(name, folder)
            except (OSError, Unwalkable) as error:
                print(f"a folder was not kept: {error}", file=sys.stderr)
        self._kept.clear()

    def prune(self) -> None:
        """Let go of what is too much or unused for long, and of all that earlier starts of the machine left."""
        with contextlib.suppress(OSError):
            remove_tree(*(path for path in self._root.iterdir() if path != self._folder))
            # Left by an agent that was killed here.
            remove_tree(*(path for path in self._folder.iterdir() if not NAME.fullmatch(path.name)))
            kept = 0
            for place, entry in enumerate(sorted(self._entries(), key=lambda entry: -entry.used_at)):
                kept += entry.size
                if kept > self._max_bytes or place >= MAX_FOLDERS or entry.used_at < time.time() - MAX_AGE_S:
                    self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        # Out of everybody's way first: nobody may take half of it.
        gone = self._folder / f"gone-{os.getpid()}-{entry.path.name}"
        with contextlib.suppress(FileNotFoundError):
            entry.path.rename(gone)
            remove_tree(gone)

    def _put(self, name: str, folder: Path) -> None:
        size = _size(folder, self._max_folder_bytes)
        # The last one to be let go of.
        os.utime(folder)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(entry.path.name.startswith(f"{name}.") for entry in self._entries()):
            folder.rename(self._folder / f"{name}.{size}")
        self.prune()

    def _entries(self) -> list[Entry]:
        entries = []
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if match := NAME.fullmatch(path.name):
                    with contextlib.suppress(FileNotFoundError):
                        entries.append(Entry(path, match[1], match[2], int(match[3]), path.stat().st_mtime))
        return entries


def _give(folder: Path, uid: int | None) -> None:
    """Have everything in a folder belong to a user, if it does not: each build of this machine runs as its own."""
    if uid is None or folder.stat().st_uid == uid:
        return
    command = ["chown", "--recursive", "--no-dereference", f"{uid}:{uid}", "--", str(folder)]
    if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        raise InfrastructureError("a cached folder could not be given to the build's user")


def _size(folder: Path, most: int) -> int:
    """Return how many bytes a folder takes on the disk, each file counted. Raises OSError past `most`, Unwalkable."""
    size = 0
    for stat in walk([folder]):
        size += stat.st_blocks * 512 // max(stat.st_nlink, 1) + BYTES_PER_INODE
        if size > most:
            raise OSError(f"more than {most:,} bytes")
    return size
