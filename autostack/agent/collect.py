"""The output folder becomes a list of files: walked without following a link, bounded, hashed, compressed.

The folder is user code's: everything in it is opened by descriptors from the clone down, with O_NOFOLLOW.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from autostack.agent.compress import Variant, Variants, is_compressible
from autostack.agent.errors import BuildFailed
from autostack.agent.files import UnsafePath, open_child_file, open_folder
from autostack.agent.logs import Level
from autostack.agent.order import Limits
from autostack.agent.text import size as size_text

MAX_PATH_BYTES = 1_024
MAX_SKIPPED_LINES = 20
READ_BYTES = 256 * 1024
THREADS = min(4, os.cpu_count() or 1)
ALWAYS_LEFT_OUT = frozenset({".git"})
# Where the whole repository is the site, what is no part of one, or was never meant to be public.
LEFT_OUT_OF_ROOT = ALWAYS_LEFT_OUT | {"node_modules", ".gitignore", ".gitattributes", ".gitmodules", ".github"}
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}

Say = Callable[[str, Level], None]


@dataclass(frozen=True)
class Found:
    """A regular file of the output, as the walk saw it. `path` is relative to the output folder."""

    path: PurePosixPath
    size: int


@dataclass(frozen=True)
class SiteFile:
    """A file of the site with its content's hash and its compressed variants."""

    path: PurePosixPath
    size: int
    sha256: str
    encodings: dict[str, Variant] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the file as the agents' API takes it."""
        encodings = {name: {"sha256": part.sha256, "size": part.size} for name, part in self.encodings.items()}
        return {"path": f"/{self.path}", "size": self.size, "sha256": self.sha256, "encodings": encodings}


@dataclass(frozen=True)
class Output:
    """The output folder: where it is, whose files it may hold, and whether it is the repository itself."""

    source: Path
    folder: PurePosixPath
    limits: Limits
    uid: int | None
    is_root: bool = False

    @property
    def title(self) -> str:
        return str(self.folder) if self.folder.parts else "the repository's root folder"

    def left_out(self, name: str) -> bool:
        """Tell whether something of this name is no part of the site."""
        return name in (LEFT_OUT_OF_ROOT if self.is_root else ALWAYS_LEFT_OUT) or (
            self.is_root and name.startswith(".env")
        )

    def open(self, path: PurePosixPath) -> IO[bytes]:
        """Open a file of the output; a link on the way to it raises UnsafePath."""
        with open_folder(self.source, self.folder / path.parent) as folder:
            return os.fdopen(open_child_file(folder, path.name), "rb")


def collect(output: Output, spool: Path, say: Say) -> list[SiteFile]:
    """Walk, hash and compress the output folder. Raises BuildFailed, naming the file and the limit."""
    found = list_files(output, say)
    if not found:
        raise BuildFailed(f"The output folder `{output.title}` has no files in it")
    with ThreadPoolExecutor(THREADS, thread_name_prefix="collect") as pool:
        return list(pool.map(lambda file: _read(output, file, spool), found))


def list_files(output: Output, say: Say) -> list[Found]:
    """Return the regular files of the output, sorted by path; say what is skipped. Raises BuildFailed past a limit."""
    skipped = _Skipped(say)
    found: list[Found] = []
    total = 0
    try:
        for file in _walk(output, skipped):
            total += file.size
            found.append(file)
            _check(file, len(found), total, output.limits)
    except FileNotFoundError:
        raise BuildFailed(f"The output folder `{output.title}` was not made by the build") from None
    except UnsafePath as error:
        raise BuildFailed(f"The output folder `{output.title}` cannot be read: {error}") from None
    skipped.finish()
    return sorted(found, key=lambda file: str(file.path))


def _walk(output: Output, skipped: _Skipped) -> Iterator[Found]:
    """Yield the files of the output. Each folder is opened anew from the top: there may be many."""
    pending, seen = [PurePosixPath()], 0
    while pending:
        path = pending.pop()
        seen += 1
        if seen > output.limits.max_files:
            raise BuildFailed(f"The output has more than {output.limits.max_files:,} folders: `{path}` is one too many")
        with open_folder(output.source, output.folder / path) as folder, os.scandir(folder) as entries:
            for entry in entries:
                below = path / _checked_name(entry.name, path)
                status = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                if output.left_out(entry.name):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    pending.append(below)
                elif _is_own_file(output, below, status, skipped):
                    yield Found(below, status.st_size)


def _is_own_file(output: Output, path: PurePosixPath, status: os.stat_result, skipped: _Skipped) -> bool:
    if not stat.S_ISREG(status.st_mode):
        skipped.add(path, KINDS.get(stat.S_IFMT(status.st_mode), "no regular file"))
        return False
    # Another name of a file that the build does not own may be one that it could not read itself.
    if status.st_nlink > 1 and output.uid is not None and status.st_uid != output.uid:
        skipped.add(path, "a hard link to a file of somebody else")
        return False
    return True


def _checked_name(name: str, folder: PurePosixPath) -> str:
    shown = f"{folder / name}".encode("utf-8", "backslashreplace").decode()[:200]
    if len(os.fsencode(folder / name)) > MAX_PATH_BYTES:
        raise BuildFailed(f"The path of `{shown}…` is longer than {MAX_PATH_BYTES:,} bytes")
    if not name.isprintable():
        raise BuildFailed(f"The name of `{shown!r}` is not printable UTF-8 text")
    return name


def _check(file: Found, count: int, total: int, limits: Limits) -> None:
    if count > limits.max_files:
        raise BuildFailed(f"The output has more than {limits.max_files:,} files: `{file.path}` is one too many")
    if file.size > limits.max_file_bytes:
        limit = size_text(limits.max_file_bytes)
        raise BuildFailed(f"`{file.path}` has {size_text(file.size)}: a file of a site may have {limit} at most")
    if total > limits.max_build_bytes:
        limit = size_text(limits.max_build_bytes)
        raise BuildFailed(f"The output is larger than {limit} in all: `{file.path}` goes past the limit")


class _Skipped:
    """Says what was left out, and when that is a lot, only how much."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._count = 0

    def add(self, path: PurePosixPath, kind: str) -> None:
        self._count += 1
        if self._count <= MAX_SKIPPED_LINES:
            self._say(f"Skipped `{path}`: it is {kind}", "warning")

    def finish(self) -> None:
        if self._count > MAX_SKIPPED_LINES:
            self._say(f"Skipped {self._count - MAX_SKIPPED_LINES:,} more that are no regular files", "warning")


def _read(output: Output, found: Found, spool: Path) -> SiteFile:
    try:
        with output.open(found.path) as file:
            return _hash(found, file, spool)
    except FileNotFoundError:
        raise BuildFailed(f"`{found.path}` vanished while it was read") from None
    except UnsafePath as error:
        raise BuildFailed(f"The output cannot be read: {error}") from None


def _hash(found: Found, file: IO[bytes], spool: Path) -> SiteFile:
    digest = hashlib.sha256()
    variants = Variants(spool, found.size) if is_compressible(found.path.name, found.size) else None
    left = found.size
    try:
        while left and (chunk := file.read(min(READ_BYTES, left))):
            left -= len(chunk)
            digest.update(chunk)
            if variants:
                variants.feed(chunk)
        if left or file.read(1):
            raise BuildFailed(f"`{found.path}` changed while it was read")
    except BaseException:
        if variants:
            variants.discard()
        raise
    return SiteFile(found.path, found.size, digest.hexdigest(), variants.finish() if variants else {})
