"""One object store, whichever it is: a local folder (`file:///…`) or S3 (`s3://bucket/prefix`).

Writes are atomic: a reader gets the old object or the new one, never a part. Every method raises StoreUnavailable when
the store cannot be reached, and those that read raise ObjectNotFound. Names come from `autostack.sites.keys`.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PreconditionError
from obstore.store import LocalStore, S3Store

from autostack.errors import ConfigurationError
from autostack.settings import Settings
from autostack.sites import folder
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.signing import SignedUpload, Signer

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

# S3's smallest part of a multipart upload is 5 MiB; smaller objects go in one request.
PART_BYTES = 8 * 1024 * 1024
STREAM_CHUNK_BYTES = 256 * 1024
# What is read at once of an object whose length is not known: of manifests and the like, mostly all.
SHORT_BYTES = 32 * 1024
# What breaks off is sent again as a whole. S3's own limit for one request is 5 GiB.
SIGNED_BYTES = 64 * 1024 * 1024
# Below this many names, asking for each is quicker than listing a project's folder of blobs.
FEW_NAMES = 64
CONCURRENT_HEADS = 16
# S3 lists and deletes at most this many objects in a request.
PAGE = 1000
# The whole of one request, a large body included. A stall shows much earlier, by READ_TIMEOUT.
REQUEST_TIMEOUT = timedelta(hours=1)
READ_TIMEOUT = timedelta(seconds=15)
CONNECT_TIMEOUT = timedelta(seconds=5)
# How obstore words that a request did not get through, and how long we wait then.
NOT_SENT = "error sending request"
REPEAT_AFTER_S = 0.1


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read, with what tells it from later ones of the same name."""

    data: bytes
    version: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it; `size` in bytes."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Stream:
    """A part of an object on its way: `total` bytes has the whole object, `length` this part."""

    total: int
    length: int
    chunks: AsyncGenerator[bytes, None]


@contextlib.contextmanager
def _our_errors(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ObjectNotFound(f"There is no object {key}.") from None
    except BaseError as error:
        # The library's message holds the request and a debug dump after its first line.
        reason = str(error).partition("\n")[0]
        raise StoreUnavailable(f"The object store did not do its work: {reason}") from error


class Store:
    """The objects of one installation. Safe to share between threads."""

    def __init__(
        self,
        backend: LocalStore | S3Store,
        root: Path | None = None,
        signer: Signer | None = None,
        patience_s: float = 0,
    ) -> None:
        self._backend = backend
        self._root = root
        self._signer = signer
        self._patience_s = patience_s

    @property
    def can_sign(self) -> bool:
        """Tell whether others can be given addresses to read and write objects by themselves (S3 only)."""
        return self._signer is not None

    @property
    def is_folder(self) -> bool:
        """Tell whether the objects are files of this machine."""
        return self._root is not None

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        with _our_errors(key):
            return obstore.get(self._backend, key).bytes().to_bytes()

    def get_part(self, key: str, start: int, size: int) -> bytes:
        """Return `size` bytes of an object from `start` on."""
        with _our_errors(key):
            return bytes(obstore.get_range(self._backend, key, start=start, length=size))

    async def get_async(self, key: str) -> bytes:
        """Return an object's bytes."""
        with _our_errors(key):
            result = await obstore.get_async(self._backend, key)
            return (await result.bytes_async()).to_bytes()

    async def get_short_async(self, key: str) -> bytes:
        """Return the bytes of an object that is not empty: if they are few, in one step less than `get_async`."""
        with _our_errors(key):
            data = bytes(await obstore.get_range_async(self._backend, key, start=0, length=SHORT_BYTES))
        return data if len(data) < SHORT_BYTES else await self.get_async(key)

    async def get_sized_async(self, key: str, size: int) -> bytes:
        """Return the bytes of an object that is known to have `size` of them: in one step less than `get_async`."""
        with _our_errors(key):
            # One byte more, or a longer one would pass for it.
            data = bytes(await obstore.get_range_async(self._backend, key, start=0, length=size + 1))
        if len(data) != size:
            raise StoreUnavailable(f"The object store has another content for {key}.")
        return data

    async def get_part_async(self, key: str, start: int, size: int) -> bytes:
        """Return `size` bytes of an object from `start` on."""
        with _our_errors(key):
            return bytes(await obstore.get_range_async(self._backend, key, start=start, length=size))

    def iterate(self, key: str) -> Iterator[bytes]:
        """Yield an object in chunks of about STREAM_CHUNK_BYTES. Raises ObjectNotFound at once, not at the first."""
        with _our_errors(key):
            result = obstore.get(self._backend, key)
        return self._chunks(key, result)

    def version(self, key: str) -> str | None:
        """Return what tells an object from earlier and later ones of the same name, None if there is none."""
        try:
            with _our_errors(key):
                return obstore.head(self._backend, key)["e_tag"]
        except ObjectNotFound:
            return None

    @staticmethod
    def _chunks(key: str, result: GetResult) -> Iterator[bytes]:
        with _our_errors(key):
            yield from map(bytes, result.stream(min_chunk_size=STREAM_CHUNK_BYTES))

    async def open_async(self, key: str, start: int = 0, end: int | None = None) -> Stream:
        """Begin to read the bytes from `start` up to, not including, `end`; they are fetched as they are taken."""
        options: GetOptions | None = None
        if end is not None:
            options = {"range": (start, end)}
        elif start:
            options = {"range": {"offset": start}}
        with _our_errors(key):
            result = await obstore.get_async(self._backend, key, options=options)
        first, after_last = result.range
        # obstore streams a local file in steps of 8 KiB, each on a thread: larger reads take a fraction of the time.
        chunks = self._chunks_async(key, result) if self._root is None else self._reads_async(key, first, after_last)
        return Stream(result.meta["size"], after_last - first, chunks)

    @staticmethod
    async def _chunks_async(key: str, result: GetResult) -> AsyncGenerator[bytes, None]:
        with _our_errors(key):
            async for chunk in result.stream(min_chunk_size=STREAM_CHUNK_BYTES):
                yield bytes(chunk)

    async def _reads_async(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        with _our_errors(key):
            for first in range(start, end, STREAM_CHUNK_BYTES):
                length = min(STREAM_CHUNK_BYTES, end - first)
                yield bytes(await obstore.get_range_async(self._backend, key, start=first, length=length))

    def put(self, key: str, data: bytes) -> None:
        """Write a small object; when this returns it is there for good, also after a power cut."""
        with _our_errors(key):
            if self._root is None:
                self._put_on_s3(key, data)
            else:
                folder.write_durably(self._root / key, data)

    def _put_on_s3(self, key: str, data: bytes) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                obstore.put(self._backend, key, data)
                return
            except GenericError as error:
                # obstore repeats what it knows to be worth it; a kept connection that breaks as it is taken is not.
                if NOT_SENT not in str(error).partition("\n")[0] or time.monotonic() > deadline:
                    raise
            # Not all at the same moment, when it comes back.
            time.sleep(REPEAT_AFTER_S * random.uniform(0.5, 1.5))  # noqa: S311 - a jitter

    def put_stream(self, key: str, chunks: Path | Iterable[bytes]) -> None:
        """Write a file or chunks of any size in bounded memory. An error raised by `chunks` leaves nothing behind."""
        with _our_errors(key):
            source = chunks if isinstance(chunks, Path) else iter(chunks)
            obstore.put(self._backend, key, source, chunk_size=PART_BYTES, max_concurrency=4)

    def read_version(self, key: str) -> Stored | None:
        """Return an object with its version, None if there is none."""
        try:
            with _our_errors(key):
                result = obstore.get(self._backend, key)
                return Stored(result.bytes().to_bytes(), result.meta["e_tag"])
        except ObjectNotFound:
            return None

    def swap(self, key: str, data: bytes, seen: Stored | None) -> bool:
        """Write a small object if it is still as `seen` (None: not there). Tell whether it was."""
        if self._root is not None:
            with _our_errors(key):
                return folder.swap(self._root / key, data, seen.data if seen else None)
        try:
            with _our_errors(key):
                return self._swap_on_s3(key, data, seen)
        except ObjectNotFound:
            return False

    def _swap_on_s3(self, key: str, data: bytes, seen: Stored | None) -> bool:
        try:
            obstore.put(self._backend, key, data, mode={"e_tag": seen.version} if seen else "create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, None if there is none."""
        try:
            with _our_errors(key):
                return obstore.head(self._backend, key)["size"]
        except ObjectNotFound:
            return None

    def missing(self, keys: Iterable[str]) -> set[str]:
        """Return those names that the store has no object for; made for thousands that share a few folders."""
        wanted = set(keys)
        if self._root is not None:
            return {key for key in wanted if not (self._root / key).is_file()}
        if len(wanted) <= FEW_NAMES:
            with ThreadPoolExecutor(CONCURRENT_HEADS) as pool:
                sizes = pool.map(self.size, ordered := list(wanted))
                return {key for key, size in zip(ordered, sizes, strict=True) if size is None}
        return self._missing_by_listing(wanted)

    def _missing_by_listing(self, wanted: set[str]) -> set[str]:
        by_folder = defaultdict(set)
        for key in wanted:
            by_folder[key.rpartition("/")[0]].add(key)
        for parent, names in by_folder.items():
            names.difference_update(self.names(parent))
        return set().union(*by_folder.values())

    def objects(self, prefix: str) -> list[Listed]:
        """Return the objects below a folder."""
        with _our_errors(prefix):
            pages = obstore.list(self._backend, prefix)
            return [Listed(found["path"], found["size"], found["last_modified"]) for page in pages for found in page]

    def next_objects(self, prefix: str, after: str, limit: int = PAGE) -> list[Listed]:
        """Return the next objects that lie right in a folder, by name; `after` is the name of the last one known."""
        if self._root is not None:
            files = folder.next_files(self._root / prefix, after.removeprefix(f"{prefix}/"), limit)
            return [
                Listed(f"{prefix}/{name}", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
                for name, status in files
            ]
        with _our_errors(prefix):
            pages = obstore.list(self._backend, prefix, offset=after or None, chunk_size=limit)
            page = next(iter(pages), [])
            return [Listed(found["path"], found["size"], found["last_modified"]) for found in page]

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right in a folder."""
        with _our_errors(prefix):
            return list(obstore.list_with_delimiter(self._backend, prefix)["common_prefixes"])

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names of all objects in a folder and those below it. No such folder is an empty one."""
        with _our_errors(prefix):
            for page in obstore.list(self._backend, prefix, chunk_size=PAGE):
                for meta in page:
                    yield meta["path"]

    def delete(self, keys: str | Sequence[str]) -> None:
        """Delete one object or several. Those that are not there are not an error."""
        names = [keys] if isinstance(keys, str) else list(keys)
        if self._root is None:
            with _our_errors("to delete"):
                obstore.delete(self._backend, names)
            return
        for name in names:
            with contextlib.suppress(ObjectNotFound), _our_errors(name):
                obstore.delete(self._backend, name)

    def delete_prefix(self, prefix: str) -> int:
        """Delete everything in a folder. Returns how many objects that were."""
        names = list(self.names(prefix))
        for first in range(0, len(names), PAGE):
            self.delete(names[first : first + PAGE])
        return len(names)

    def sign_put(self, key: str, sha256: str, size: int, ttl_s: int) -> SignedUpload | None:
        """Return an address that takes exactly this content (hex SHA-256, bytes).

        None for a local folder, and for what is too large to be sent in one request: `put_stream` takes it in parts.
        """
        return self._signer.put(key, sha256, size, ttl_s) if self._signer and size <= SIGNED_BYTES else None

    def end_unfinished(self, prefix: str, before: datetime) -> int:
        """Have S3 forget uploads in parts that nobody went on with since then; return how many that were."""
        return self._signer.end_unfinished(prefix, before) if self._signer else 0


def open_store(settings: Settings, patience_s: float = 30) -> Store:
    """Return the store that the settings name. Raises ConfigurationError for an address of another kind.

    `patience_s` is how long requests to S3 are repeated while it is away or answers 5xx.
    """
    url = urlsplit(settings.object_store_url)
    if url.scheme == "file" and url.netloc in ("", "localhost"):
        root = Path(unquote(url.path))
        root.mkdir(parents=True, exist_ok=True)
        return Store(LocalStore(root, automatic_cleanup=True), root=root)
    if url.scheme == "s3" and url.netloc:
        return _open_s3(settings, url.netloc, url.path.strip("/"), patience_s)
    raise ConfigurationError("STORAGE_URL must be file:///folder or s3://bucket/prefix")


def _open_s3(settings: Settings, bucket: str, prefix: str, patience_s: float) -> Store:
    secret = settings.aws_secret_access_key
    given: dict[str, Any] = {
        "endpoint": settings.s3_endpoint_url,
        "access_key_id": settings.aws_access_key_id,
        "secret_access_key": secret.get_secret_value() if secret else None,
        "server_side_encryption": settings.s3_sse,
        "sse_kms_key_id": settings.s3_sse_kms_key_id,
    }
    backend = S3Store(
        bucket,
        prefix=prefix or None,
        region=settings.s3_region,
        client_options={
            "allow_http": (settings.s3_endpoint_url or "").startswith("http://"),
            "timeout": REQUEST_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            "connect_timeout": CONNECT_TIMEOUT,
        },
        retry_config={
            "max_retries": 20,
            "retry_timeout": timedelta(seconds=patience_s),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 2},
        },
        # What is not given is found as AWS's own tools find it: environment, container, instance.
        **{name: value for name, value in given.items() if value is not None},
    )
    return Store(backend, signer=Signer(settings, bucket, prefix), patience_s=patience_s)
