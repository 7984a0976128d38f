"""Blobs and manifests on this machine's disk, shared by all workers, and still there after a restart.

Each file is written under another name and renamed when it is whole. A power cut may still leave one with holes: what
is read whole is checked by its reader, what is too large for that is on the disk before it gets its name. Nothing here
is needed: what cannot be read is not there, and what cannot be written is not kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import structlog

from autostack.proxy.claims import Claims
from autostack.settings import MB, Settings
from autostack.sites.store import Store

log = structlog.get_logger(__name__)

# A file that is used is noted as used this often.
TOUCH_AFTER_S = 60
# Of the room: after so much was written it is looked whether all still fits, and then so much is left.
SWEEP_SHARE = 0.05
KEPT_SHARE = 0.85
# A single file takes at most this share of the room.
FILE_SHARE = 0.25
OF_ITS_OWN = ("lock", "claims")


def open_disk(settings: Settings, store: Store) -> DiskCache | None:
    """Return the disk cache that the settings ask for. None, too, where it would hold files of the same machine."""
    if store.is_folder or not settings.proxy_disk_cache_mb:
        return None
    try:
        return DiskCache(
            settings.proxy_cache_folder / "files", settings.proxy_disk_cache_mb * MB, settings.proxy_workers
        )
    except OSError as error:
        log.warning("no disk cache", folder=str(settings.proxy_cache_folder), error=error.strerror)
        return None


class DiskCache:
    """Files by name (hexadecimal digits and dashes), up to a size in all; those longest unused leave."""

    def __init__(self, folder: Path, max_bytes: int, workers: int = 1) -> None:
        """Raises OSError for a folder that cannot be made."""
        self._folder = folder
        self._folder_name = str(folder)
        self._max_bytes = max_bytes
        self._written = 0
        # Workers don't tell each other what they wrote.
        self._sweep_after = int(max_bytes * SWEEP_SHARE / workers)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._is_well = True
        self.claims = Claims(folder / "claims")

    def takes(self, size: int) -> bool:
        """Tell whether a file of this size would be kept."""
        return size <= self._max_bytes * FILE_SHARE

    def has(self, name: str) -> bool:
        """Tell whether there is such a file, quicker than a thread could be asked."""
        # Unlike a Path's, it is silent about a disk that is broken; and visitors wait while a Path is made.
        return os.path.exists(f"{self._folder_name}/{name[:2]}/{name}")

    def open(self, name: str, size: int | None = None) -> int | None:
        """Return a descriptor to read from, None if there is no such file, or not of this size."""
        try:
            file = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        found = os.fstat(file)
        if size is not None and found.st_size != size:
            os.close(file)
            self.discard(name)
            return None
        if time.time() - found.st_mtime > TOUCH_AFTER_S:
            with contextlib.suppress(OSError):
                os.utime(file)
        return file

    def read(self, name: str, size: int | None = None) -> bytes | None:
        """Return the content of a file, None if there is none, or not of this size. It blocks, so it is for threads."""
        file = self.open(name, size)
        if file is None:
            return None
        try:
            with open(file, "rb", closefd=True) as opened:
                return opened.read()
        except OSError:
            return None

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Keep files that their readers check."""
        for name, data in files.items():
            self.write(name, data)

    def write(self, name: str, data: bytes) -> None:
        """Keep a file that its readers check."""
        if not self.takes(len(data)):
            return
        try:
            with self.draft() as draft:
                draft.write(data)
                draft.keep(name, synced=False)
        except OSError as error:
            self.complain(error)

    def draft(self, name: str | None = None) -> Draft:
        """Begin a file, for others to follow if it has a `name`, which has to be claimed. Raises OSError, as all of it.

        What a worker that died left under that name is of no use.
        """
        path = self._draft_path(name or secrets.token_hex(8))
        if name is not None:
            path.unlink(missing_ok=True)
        return Draft(self, path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def open_draft(self, name: str) -> int | None:
        """Return a descriptor to read what somebody writes under this name, None if nobody does."""
        try:
            return os.open(self._draft_path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None

    def discard(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self._path(name).unlink()

    def keep(self, draft: Path, name: str) -> None:
        """Give a draft its name."""
        path = self._path(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft.replace(path)
        self._is_well = True

    def note_written(self, size: int) -> None:
        """Look whether all still fits, now and then."""
        self._written += size
        if self._written > self._sweep_after:
            self._written = 0
            self.sweep()

    def sweep(self) -> None:
        """Have files leave, those longest unused first, if there are too many; unless another worker does so now."""
        with contextlib.suppress(OSError), open(self._folder / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files = sorted(self._files())
            total = sum(size for _, size, _ in files)
            if total <= self._max_bytes * (KEPT_SHARE + SWEEP_SHARE):
                return
            for _, size, path in files:
                if total <= self._max_bytes * KEPT_SHARE:
                    break
                with contextlib.suppress(OSError):
                    os.unlink(path)
                total -= size

    def complain(self, error: OSError) -> None:
        """Say that nothing is kept, once."""
        if self._is_well:
            self._is_well = False
            log.warning("disk cache not written", folder=str(self._folder), error=error.strerror)

    def _files(self) -> list[tuple[float, int, str]]:
        """Return when each file was used last, what it takes on the disk, and its path."""
        found = []
        below = [entry.path for entry in os.scandir(self._folder) if entry.is_dir(follow_symlinks=False)]
        for parent in (str(self._folder), *below):
            for entry in os.scandir(parent):
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False) and entry.name not in OF_ITS_OWN:
                        state = entry.stat(follow_symlinks=False)
                        found.append((state.st_mtime, max(state.st_blocks * 512, state.st_size), entry.path))
        return found

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _draft_path(self, name: str) -> Path:
        return self._folder / f"draft-{name}"


class Draft:
    """A file that is being written. It blocks, so it is for threads; when it is closed without a name, it is gone."""

    def __init__(self, cache: DiskCache, path: Path, file: int) -> None:
        self._cache = cache
        # None when it has its name, or will have none.
        self._path: Path | None = path
        self._file = file
        # A thread that still writes must not find another file under this number.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Add to the file."""
        view = memoryview(data)
        with self._lock:
            while view:
                view = view[os.write(self._file, view) :]
        self._cache.note_written(len(data))

    def read(self, size: int, offset: int) -> bytes:
        """Return a piece of what was written."""
        return os.pread(self._file, size, offset)

    def keep(self, name: str, synced: bool = True) -> None:
        """Give the file its name, when it is whole and, if it must be `synced`, on the disk."""
        with self._lock:
            if self._path is None:
                return
            if synced:
                os.fsync(self._file)
            self._cache.keep(self._path, name)
            self._path = None

    def discard(self) -> None:
        """Have it vanish unless it has its name. Those who read it now can go on."""
        with self._lock:
            path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()

    def close(self) -> None:
        self.discard()
        with self._lock:
            file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
