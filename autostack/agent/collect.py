"""The output folder becomes a list of files: walked without following a link, bounded, hashed, compressed.

The folder is user code's: everything in it is opened by descriptors from the clone down, with O_NOFOLLOW.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO, Any

from autostack.agent.compress import SMALL_BYTES, Variant, Variants, is_compressible, pack_content, pack_variants
from autostack.agent.errors import BuildFailed
from autostack.agent.files import UnsafePath, open_child_file, open_folder
from autostack.agent.logs import Level
from autostack.agent.order import Limits
from autostack.agent.packs import Packs
from autostack.agent.text import size as size_text

MAX_PATH_BYTES = 1_024
MAX_SKIPPED_LINES = 20
READ_BYTES = 256 * 1024
THREADS = min(4, os.cpu_count() or 1)
# So many files a thread reads at a time.
BATCH = 32
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
    """A file of the site with its content's hash and its compressed variants; `packed` is where it is in a pack."""

    path: PurePosixPath
    size: int
    sha256: str
    encodings: dict[str, Variant] = field(default_factory=dict)
    packed: Variant | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the file as the agents' API takes it."""
        encodings = {name: part.as_json() for name, part in self.encodings.items()}
        content = self.packed.as_json() if self.packed else {"sha256": self.sha256, "size": self.size}
        return {"path": f"/{self.path}", **content, "encodings": encodings}


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
        with self.open_parent(path) as folder:
            return os.fdopen(open_child_file(folder, path.name), "rb")

    def open_parent(self, path: PurePosixPath) -> AbstractContextManager[int]:
        """Give a descriptor of the folder that a file of the output is in; a link on the way raises UnsafePath."""
        return open_folder(self.source, self.folder / path.parent)


@dataclass(frozen=True)
class Known:
    """What the build before left in the store, and by the hashes of files their variants, and where they are packed."""

    stored: frozenset[str] = frozenset()
    variants: Mapping[str, dict[str, Variant]] = field(default_factory=dict)
    packed: Mapping[str, Variant] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Known:
        """Read a deployment's manifest."""
        files = manifest.get("files", {}).values()
        variants = {
            file["sha256"]: {name: Variant.of_earlier(part) for name, part in file["encodings"].items()}
            for file in files
        }
        packed = {file["sha256"]: Variant.of_earlier(file) for file in files if file.get("pack")}
        made = (variant.blob for encodings in variants.values() for variant in encodings.values())
        in_packs = (content.blob for content in packed.values())
        return cls(frozenset((*(variants.keys() - packed.keys()), *made, *in_packs)), variants, packed)


NOTHING = Known()


def collect(output: Output, spool: Path, say: Say, known: Known = NOTHING) -> Iterator[SiteFile]:
    """Walk, hash and compress the output folder; yield its files, sorted by path, as soon as each is ready.

    Raises BuildFailed, naming the file and the limit.
    """
    found = list_files(output, say)
    if not found:
        raise BuildFailed(f"The output folder `{output.title}` has no files in it")
    packs = Packs(spool)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="collect") as pool:
        try:
            for files in pool.map(lambda batch: _read_all(output, batch, packs, spool, known), _batches(found)):
                yield from files
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            packs.close()


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
                below = _checked(path / entry.name)
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


def _checked(path: PurePosixPath) -> PurePosixPath:
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise BuildFailed(f"The path of `{_shown(path)}…` is longer than {MAX_PATH_BYTES:,} bytes")
    if not path.name.isprintable():
        raise BuildFailed(f"The name of `{_shown(path)!r}` is not printable UTF-8 text")
    return path


def _shown(path: PurePosixPath) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()[:200]


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


def _batches(found: list[Found]) -> Iterator[list[Found]]:
    """Yield neighbours in one folder, so many that to hand them to another thread costs little beside reading them."""
    for _, group in groupby(found, key=lambda file: file.path.parent):
        files = list(group)
        for first in range(0, len(files), BATCH):
            yield files[first : first + BATCH]


def _read_all(output: Output, batch: list[Found], packs: Packs, spool: Path, known: Known) -> list[SiteFile]:
    """Read files of one folder."""
    found = batch[0]
    try:
        with output.open_parent(found.path) as folder:
            read = []
            for found in batch:
                descriptor = open_child_file(folder, found.path.name)
                try:
                    read.append(_read(found, descriptor, packs, spool, known))
                finally:
                    os.close(descriptor)
            return read
    except FileNotFoundError:
        raise BuildFailed(f"`{found.path}` vanished while it was read") from None
    except UnsafePath as error:
        raise BuildFailed(f"The output cannot be read: {error}") from None


def _read(found: Found, descriptor: int, packs: Packs, spool: Path, known: Known) -> SiteFile:
    if found.size <= SMALL_BYTES:
        return _read_small(found, descriptor, packs, known)
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        sha256 = _hash(found, file)
        variants = known.variants.get(sha256)
        if variants is None and is_compressible(found.path.name, found.size):
            file.seek(0)
            variants = _compress(found, sha256, file, spool)
        return SiteFile(found.path, found.size, sha256, variants or {})


def _read_small(found: Found, descriptor: int, packs: Packs, known: Known) -> SiteFile:
    data = os.read(descriptor, found.size + 1)
    if len(data) != found.size:
        raise BuildFailed(f"`{found.path}` changed while it was read")
    sha256 = hashlib.sha256(data).hexdigest()
    variants = known.variants.get(sha256)
    if variants is None and is_compressible(found.path.name, found.size):
        variants = pack_variants(data, packs)
    packed = known.packed.get(sha256)
    if packed is None and data and sha256 not in known.stored:
        packed = pack_content(data, sha256, packs)
    return SiteFile(found.path, found.size, sha256, variants or {}, packed)


def _compress(found: Found, sha256: str, file: IO[bytes], spool: Path) -> dict[str, Variant]:
    variants = Variants(spool, found.size)
    try:
        if _hash(found, file, variants.feed) != sha256:
            raise BuildFailed(f"`{found.path}` changed while it was read")
    except BaseException:
        variants.discard()
        raise
    return variants.finish()


def _hash(found: Found, file: IO[bytes], feed: Callable[[bytes], None] = lambda chunk: None) -> str:
    """Return the hash of a file, whose content goes to `feed` too. Raises BuildFailed if its size is another by now."""
    digest = hashlib.sha256()
    left = found.size
    while left and (chunk := file.read(min(READ_BYTES, left))):
        left -= len(chunk)
        digest.update(chunk)
        feed(chunk)
    if left or file.read(1):
        raise BuildFailed(f"`{found.path}` changed while it was read")
    return digest.hexdigest()
