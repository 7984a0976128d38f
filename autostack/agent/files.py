"""Read files below a folder that user code wrote, without following any link out of it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

MAX_TEXT_BYTES = 20_000_000


class UnsafePath(Exception):
    """A path that leaves its folder, passes a link, or is not what it was taken for. The message names it."""


def normalise(path: str) -> PurePosixPath:
    """Return a relative path without `.` and `..`. Raises UnsafePath if it is absolute or leaves its folder."""
    parts: list[str] = []
    for part in path.strip().split("/"):
        if part == ".." and not parts:
            raise UnsafePath(f"`{path}` lies outside the repository")
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if path.strip().startswith("/") or "\0" in path:
        raise UnsafePath(f"`{path}` lies outside the repository")
    return PurePosixPath(*parts)


def remove_tree(*paths: Path) -> None:
    """Delete folders with all that is in them, of any depth, which Python's rmtree is not good for. Raises OSError."""
    names = [str(path) for path in paths if path.exists()]
    if not _removed(names):
        # User code may have left folders that even their owner may not change: Go's module cache is one.
        _run("chmod", "-R", "u+rwX", "--", *names)
        if not _removed(names):
            raise OSError(errno.EACCES, "cannot be deleted", names[0])


def _removed(names: list[str]) -> bool:
    return not names or _run("rm", "-rf", "--one-file-system", "--", *names)


def _run(*command: str) -> bool:
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


@contextmanager
def open_folder(root: Path, relative: PurePosixPath) -> Iterator[int]:
    """Give a descriptor of a folder below `root`; no part of the path may be a link.

    Raises FileNotFoundError or UnsafePath.
    """
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        raise UnsafePath("the repository's folder cannot be read") from None
    try:
        for part in relative.parts:
            below = open_child_folder(descriptor, part)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def open_child_folder(parent: int, name: str) -> int:
    """Open a folder by its name in `parent`. Raises FileNotFoundError or UnsafePath."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except (NotADirectoryError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UnsafePath(f"`{name}` is a link or not a folder") from None


def open_child_file(parent: int, name: str) -> int:
    """Open a regular file by its name in `parent`. Raises FileNotFoundError or UnsafePath.

    O_NONBLOCK: to open a FIFO that nobody writes to would wait for ever.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UnsafePath(f"`{name}` cannot be read: it is a link, or not readable") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafePath(f"`{name}` is not a regular file")
    return descriptor


def read_bytes(
    root: Path, relative: PurePosixPath, max_bytes: int = MAX_TEXT_BYTES, owner: int | None = None
) -> bytes | None:
    """Return a small file's content, or None if there is none. Raises UnsafePath, also if it is too large.

    With an `owner`, another name (a hard link) of a file that is somebody else's is unsafe, too.
    """
    try:
        with open_folder(root, relative.parent) as folder:
            descriptor = open_child_file(folder, relative.name)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_nlink > 1 and owner is not None and status.st_uid != owner:
            raise UnsafePath(f"`{relative}` is a hard link to a file of somebody else")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UnsafePath(f"`{relative}` is larger than {max_bytes:,} bytes")
    return content


def is_folder(root: Path, relative: PurePosixPath) -> bool:
    """Tell whether there is such a folder, reached without a link."""
    try:
        with open_folder(root, relative):
            return True
    except (FileNotFoundError, UnsafePath):
        return False


def names_in(root: Path, relative: PurePosixPath) -> list[str]:
    """Return the names in a folder, sorted; none if there is no such folder."""
    try:
        with open_folder(root, relative) as folder:
            return sorted(os.listdir(folder))
    except (FileNotFoundError, UnsafePath):
        return []


def folders_like(root: Path, pattern: PurePosixPath) -> list[PurePosixPath]:
    """Return the folders that a pattern stands for: `dist/*/browser` is one for each folder in `dist`."""
    folders = [PurePosixPath()]
    for part in pattern.parts:
        if part == "*":
            folders = [folder / name for folder in folders for name in names_in(root, folder)]
        else:
            folders = [folder / part for folder in folders]
    return [folder for folder in folders if is_folder(root, folder)]
