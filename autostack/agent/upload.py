"""Send the blobs that the store lacks. Each is read again and must still have the hash that it was listed under."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from autostack.agent.api import Api, Upload
from autostack.agent.collect import Output, Say, SiteFile
from autostack.agent.errors import BuildFailed, InfrastructureError
from autostack.agent.files import UnsafePath
from autostack.agent.packs import Pack

# A store far away answers each after some tens of milliseconds, however small it is.
PARALLEL = 12
# What is this small, as packs are, is read once, checked and sent.
READ_BYTES = 1024 * 1024
# So many blobs, or bytes, are worth a request of their own, before all of them are known. Few go with the list.
BATCH = 200
BATCH_BYTES = 8_000_000
# So many may wait for their turn: what is signed for them lasts for a while only.
MOST_QUEUED = 1_000


class VariantGone(InfrastructureError):
    """The store lacks what an earlier build had packed or compressed: it is to be made again."""


@dataclass(frozen=True)
class Blob:
    """Content of which only the hash matters, and how to read it."""

    sha256: str
    size: int
    title: str
    open: Callable[[], IO[bytes]]

    def open_verified(self) -> IO[bytes]:
        """Open the blob and read it once before anybody sees it. Raises BuildFailed if it is another by now.

        What was checked is then sent, or the open file that was: what is put in its place meanwhile is never read.
        """
        try:
            file = self.open()
        except (FileNotFoundError, UnsafePath):
            raise BuildFailed(f"`{self.title}` was replaced while it was uploaded") from None
        if self.size <= READ_BYTES:
            with file:
                data = file.read(READ_BYTES + 1)
            self._check(hashlib.sha256(data))
            return io.BytesIO(data)
        digest = hashlib.sha256()
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
        try:
            self._check(digest)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def _check(self, digest: hashlib._Hash) -> None:
        if digest.hexdigest() != self.sha256:
            raise BuildFailed(f"`{self.title}` was changed while it was uploaded")


@dataclass
class Uploads:
    """The uploads of one build: they begin while files are still read, and end with the list of all files.

    `stored` are the hashes of what the store has already.
    """

    api: Api
    output: Output
    pool: ThreadPoolExecutor
    stored: frozenset[str] = frozenset()
    _waiting: dict[str, Blob] = field(default_factory=dict)
    _open_packs: set[Pack] = field(default_factory=set)
    _sent: set[str] = field(default_factory=set)
    _queue: deque[Future[None]] = field(default_factory=deque)

    def offer(self, file: SiteFile) -> None:
        """Take a file that was read; send what is new of it, with others, as soon as they are many."""
        blobs = (*blobs_of(self.output, file), *self._packs_closed_by(file))
        new = {blob.sha256: blob for blob in blobs if blob.sha256 not in self.stored and blob.sha256 not in self._sent}
        self._waiting |= new
        if new and (len(self._waiting) >= BATCH or self._waiting_bytes >= BATCH_BYTES):
            self._begin()

    def finish(self, files: Sequence[SiteFile], rules: Mapping[str, str], say: Say) -> tuple[int, int]:
        """List all files, upload what is still wanted; return how many files were sent and how many there are.

        `rules` are the texts that say how the site is served; what web has to say of them is said in the log.
        Raises VariantGone.
        """
        self._wait()
        listed = self.api.list_files([file.as_json() for file in files], rules)
        for note in listed.notes:
            say(note, "warning")
        blobs = {blob.sha256: blob for file in files for blob in blobs_of(self.output, file)}
        blobs |= {pack.sha256: blob_of(pack) for file in files for pack in packs_of(file)}
        self._send_all(blobs, listed.uploads)
        self._wait()
        return sum(_content_of(file) in self._sent for file in files), len(files)

    @property
    def _waiting_bytes(self) -> int:
        return sum(blob.size for blob in self._waiting.values())

    def _packs_closed_by(self, file: SiteFile) -> list[Blob]:
        self._open_packs |= packs_of(file)
        closed = {pack for pack in self._open_packs if pack.is_closed}
        self._open_packs -= closed
        return [blob_of(pack) for pack in closed]

    def _begin(self) -> None:
        self._wait(MOST_QUEUED)
        batch, self._waiting = self._waiting, {}
        self._send_all(batch, self.api.invite({blob.sha256: blob.size for blob in batch.values()}))

    def _send_all(self, blobs: Mapping[str, Blob], uploads: Sequence[Upload]) -> None:
        for item in uploads:
            if item.sha256 not in blobs:
                raise VariantGone(f"web asks for a blob that is not here: {item.sha256}")
            self._sent.add(item.sha256)
            self._queue.append(self.pool.submit(_send, self.api, blobs[item.sha256], item))

    def _wait(self, most: int = 0) -> None:
        """Wait until not more than `most` uploads are to be done. Raises what ended one."""
        while len(self._queue) > most:
            self._queue.popleft().result()


@contextmanager
def uploading(api: Api, output: Output, stored: frozenset[str] = frozenset()) -> Iterator[Uploads]:
    """Give what uploads the files of an output. Whatever ends the block early ends the uploads, too."""
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="upload") as pool:
        try:
            yield Uploads(api, output, pool, stored)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def blobs_of(output: Output, file: SiteFile) -> Iterator[Blob]:
    """Yield a file's content and its variants, as far as they are blobs of their own, and here."""
    if file.packed is None:
        yield Blob(file.sha256, file.size, str(file.path), partial(output.open, file.path))
    for variant in file.encodings.values():
        if variant.path:
            yield Blob(variant.sha256, variant.size, str(file.path), partial(_open, variant.path))


def packs_of(file: SiteFile) -> set[Pack]:
    """Return the packs that are here and have a file or variants of it in them."""
    parts = (*file.encodings.values(), *([file.packed] if file.packed else []))
    return {part.pack for part in parts if part.pack and part.pack.path}


def blob_of(pack: Pack) -> Blob:
    """Return a closed pack as what is sent."""
    assert pack.path is not None  # noqa: S101 - it is here
    return Blob(pack.sha256, pack.size, "packed files", partial(_open, pack.path))


def _content_of(file: SiteFile) -> str:
    """Return the hash of the blob that a file's content is, or is in."""
    return file.packed.blob if file.packed else file.sha256


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _send(api: Api, blob: Blob, item: Upload) -> None:
    api.put_blob(item, blob.open_verified, blob.size)
