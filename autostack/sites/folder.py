"""Writing into a local folder so that neither a reader nor a power cut ever sees half a file."""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from autostack.sites.errors import StoreUnavailable

# obstore names its unfinished files so too, and leaves such names out when it lists.
LOCK = "lock#0"


@contextlib.contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"Could not read or write {path.name}: {error.strerror}") from error


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file at once, content and name on disk when this returns. Raises StoreUnavailable."""
    # Not longer where the file's name is long: that may have as many characters as a name can.
    draft = path.with_name(f"#{secrets.randbelow(10**12)}")
    with _our_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_and_sync(draft, data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)


def swap(path: Path, data: bytes, seen: bytes | None) -> bool:
    """Replace a file if its content is still `seen` (None: not there), one process at a time. Tell whether it was."""
    with _locked(path):
        current = _read(path)
        if current != seen:
            return False
        write_durably(path, data)
        return True


def next_files(path: Path, after: str, limit: int) -> list[tuple[str, os.stat_result]]:
    """Return the next files of a folder in the order of their names, with what is known of each."""
    with _our_errors(path):
        try:
            names = heapq.nsmallest(limit, (name for name in os.listdir(path) if name > after and "#" not in name))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found.append((name, (path / name).stat()))
        return found


def _read(path: Path) -> bytes | None:
    with _our_errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def _write_and_sync(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    # The new name is an entry of the folder, and reaches the disk with it.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    # One lock a folder, in a file of its own, for those it guards are replaced. The kernel frees it when we die.
    with _our_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
