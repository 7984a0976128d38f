"""Unpacked `node_modules` that outlast a build on this machine, so that the next one need not unpack them again.

A folder is at one place at a time: on the shelf, or with the one build that took it. Web decides who may take it: each
has the tag of the archive that it came from, which web gives to those who may read that archive, and to nobody else.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from autostack.agent.errors import InfrastructureError
from autostack.agent.files import remove_tree

MAX_FOLDERS = 100


class Shelf:
    """Folders by cache key and tag, the oldest let go of when together they are larger than `max_bytes`.

    `folder` must be on the filesystem of the builds' own folders: what is moved here and back is never copied.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._kept: dict[Path, str] = {}

    def tags(self, key: str) -> list[str]:
        """Return the tags of the folders that are there for a key."""
        return [entry.tag for entry in self._entries() if entry.key == key]

    def take(self, key: str, tag: str, target: Path, uid: int | None) -> bool:
        """Move a folder to `target`, which is empty, for `uid` until `put_back`; return whether it still was there."""
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
        """Have a folder put on the shelf at the end of the build, under what it holds now.

        One without a tag could never be asked for.
        """
        self._kept.pop(folder, None)
        if tag:
            self._kept[folder] = f"{key}.{tag}"

    def put_back(self) -> None:
        """Move to the shelf what was taken or is to be kept, if it has no such folder; then let go of the oldest."""
        for folder, name in self._kept.items():
            # It is a cache: without it the next build takes longer.
            with contextlib.suppress(OSError):
                self._put(name, folder)
        self._kept.clear()

    def _put(self, name: str, folder: Path) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The last one to be let go of.
        os.utime(folder)
        target = self._folder / f"{name}.{_size(folder)}"
        if not any(entry.path.name.startswith(f"{name}.") for entry in self._entries()):
            folder.rename(target)
        self._prune()

    def _prune(self) -> None:
        kept = 0
        for place, entry in enumerate(sorted(self._entries(), key=lambda entry: -entry.used_at)):
            kept += entry.size
            if kept > self._max_bytes or place >= MAX_FOLDERS:
                with contextlib.suppress(FileNotFoundError):
                    # Out of everybody's way first: nobody may take half of it.
                    entry.path.rename(self._folder / f".{entry.path.name}")
        # With what an agent left that was killed here.
        remove_tree(*self._folder.glob(".*"))

    def _entries(self) -> list[_Entry]:
        entries = []
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                key, _, rest = path.name.partition(".")
                tag, _, size = rest.partition(".")
                with contextlib.suppress(FileNotFoundError):
                    entries += [_Entry(path, key, tag, int(size), path.stat().st_mtime)] if key else []
        return entries


@dataclass(frozen=True)
class _Entry:
    path: Path
    key: str
    tag: str
    size: int
    used_at: float


def _give(folder: Path, uid: int | None) -> None:
    """Have everything in a folder belong to a user, if it does not: each build of this machine runs as its own."""
    if uid is None or folder.stat().st_uid == uid:
        return
    command = ["chown", "--recursive", "--no-dereference", f"{uid}:{uid}", "--", str(folder)]
    if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        raise InfrastructureError("a cached folder could not be given to the build's user")


def _size(folder: Path) -> int:
    """Return how many bytes a folder takes on the disk."""
    return sum(
        entry.lstat().st_blocks * 512
        for root, folders, files in os.walk(folder)
        for entry in (Path(root, name) for name in (*folders, *files))
    )
