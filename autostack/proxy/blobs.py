"""The bodies of answers: from memory, from the disk, or from the store, whole or in parts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Iterable, Sequence

import structlog

from autostack.proxy.cache import BoundedCache, SingleFlight
from autostack.proxy.claims import Release, release_nothing
from autostack.proxy.disk import DiskCache
from autostack.proxy.filling import DiskFailed, Filling, follow, patiently, read_file
from autostack.proxy.messages import Part, Response
from autostack.proxy.negotiation import ByteRange
from autostack.proxy.respond import Plan
from autostack.sites import keys
from autostack.sites.errors import StoreUnavailable
from autostack.sites.manifest import MAX_PACKED_BYTES, Blob
from autostack.sites.store import Store

log = structlog.get_logger(__name__)

# Larger blobs go to the disk as they come, and are never whole in memory: none of them is in a pack.
MAX_CACHED_BLOB_BYTES = MAX_PACKED_BYTES
# Hashing a larger one would hold up other visitors for more than a tenth of a millisecond.
LARGE_BYTES = 100_000
# Blobs that wait for the disk, in memory. They do so for a moment: a thread that begins to write them sooner is in the
# way of the answer.
MAX_UNWRITTEN_BYTES = 16_000_000
WRITE_AFTER_S = 0.002


class Blobs:
    """The content of files. For one event loop."""

    def __init__(self, store: Store, max_bytes: int, disk: DiskCache | None = None) -> None:
        self._store = store
        self._disk = disk
        self._kept: BoundedCache[str, bytes] = BoundedCache(max_bytes)
        self._reads: SingleFlight[tuple[str, str], bytes] = SingleFlight()
        self._unwritten: dict[str, tuple[bytes, Release]] = {}
        self._unwritten_bytes = 0
        self._fillings: dict[str, Filling] = {}
        self._openings: SingleFlight[str, Filling | None] = SingleFlight()
        # Called for every answer.
        self.get = self._kept.get

    def respond_now(self, plan: Plan) -> Response | None:
        """Return the whole response if its body is in memory."""
        data = self._kept.get(plan.blob.sha256)
        return None if data is None else _respond(plan, data)

    def fetch_ahead(self, project_id: str, blob: Blob) -> None:
        """Have a blob fetched into memory, unless it is too large: somebody will ask for it in a moment."""
        if blob.size <= MAX_CACHED_BLOB_BYTES:
            key = keys.blob(project_id, blob.stored_as)
            self._reads.begin((key, blob.sha256), lambda: self._read(key, blob))

    async def respond(self, project_id: str, plan: Plan) -> Response:
        """Return the response with its body, or with what fetches it piece by piece. Raises StoreUnavailable."""
        key = keys.blob(project_id, plan.blob.stored_as)
        if plan.blob.size > MAX_CACHED_BLOB_BYTES:
            chunks = self._stream(key, plan)
            # Until its first chunk is there, an error can still be told as one.
            return Response(plan.head, await anext(chunks), chunks)
        return _respond(plan, await self._reads.run((key, plan.blob.sha256), lambda: self._read(key, plan.blob)))

    async def _read(self, key: str, blob: Blob) -> bytes:
        data = await self._read_from_disk(blob)
        if data is None:
            data = await self._fetch(key, blob) if self._disk is None else await self._share(key, blob, self._disk)
        self._kept.put(blob.sha256, data, len(data))
        return data

    async def _fetch(self, key: str, blob: Blob) -> bytes:
        if blob.start is None:
            data = await self._store.get_sized_async(key, blob.size)
        else:
            data = await self._store.get_part_async(key, blob.start, blob.size)
        if await _hash(data) != blob.sha256:
            raise StoreUnavailable(f"The object store has another content for {key}.")
        return data

    async def _share(self, key: str, blob: Blob, disk: DiskCache) -> bytes:
        """Fetch for the other workers of this machine, too, or have what one of them fetches."""
        release = await disk.claims.take(blob.sha256)
        try:
            data = await self._read_from_disk(blob)
            if data is None:
                data = await self._fetch(key, blob)
                release = self._write_to_disk(disk, blob, data, release)
            return data
        finally:
            release()

    def _write_to_disk(self, disk: DiskCache, blob: Blob, data: bytes, release: Release) -> Release:
        """Have a blob written without anybody waiting for that, and then released. Return what is to be released now.

        While the disk is far behind, it is not written.
        """
        if blob.sha256 in self._unwritten or self._unwritten_bytes > MAX_UNWRITTEN_BYTES:
            return release
        if not self._unwritten:
            asyncio.get_running_loop().call_later(WRITE_AFTER_S, self._write_all, disk)
        self._unwritten[blob.sha256] = (data, release)
        self._unwritten_bytes += blob.size
        return release_nothing

    def _write_all(self, disk: DiskCache) -> None:
        unwritten, self._unwritten = self._unwritten, {}
        files = {name: data for name, (data, _) in unwritten.items()}
        writing = asyncio.get_running_loop().run_in_executor(None, disk.write_all, files)
        writing.add_done_callback(lambda _: self._written(unwritten.values()))

    def _written(self, files: Iterable[tuple[bytes, Release]]) -> None:
        for data, release in files:
            self._unwritten_bytes -= len(data)
            release()

    async def _read_from_disk(self, blob: Blob) -> bytes | None:
        if self._disk is None or not self._disk.has(blob.sha256):
            return None
        return await asyncio.to_thread(_read_checked, self._disk, blob)

    async def _stream(self, key: str, plan: Plan) -> AsyncGenerator[bytes, None]:
        for number, part in enumerate(plan.parts or (ByteRange(0, plan.blob.size),)):
            seam = plan.seams[number] if plan.seams else b""
            async with contextlib.aclosing(self._part(key, plan.blob, part)) as chunks:
                async for chunk in chunks:
                    yield seam + chunk if seam else chunk
                    seam = b""
        if plan.seams:
            yield plan.seams[-1]

    async def _part(self, key: str, blob: Blob, part: ByteRange) -> AsyncGenerator[bytes, None]:
        """Yield a part of a large blob: from the disk, from what fills it, or from the store."""
        start = part.start
        try:
            if (kept := await self._on_disk(key, blob, part)) is not None:
                async with contextlib.aclosing(kept):
                    async for chunk in kept:
                        start += len(chunk)
                        yield chunk
        except DiskFailed as error:
            log.warning("not by way of the disk cache", error=str(error))
        if start < part.end:
            stream = await self._store.open_async(key, start, part.end)
            async with contextlib.aclosing(stream.chunks):
                async for chunk in patiently(stream.chunks):
                    start += len(chunk)
                    yield chunk
        if start != part.end:
            raise StoreUnavailable(f"The object store has another size for {blob.sha256}.")

    async def _on_disk(self, key: str, blob: Blob, part: ByteRange) -> AsyncGenerator[bytes, None] | None:
        if self._disk is None:
            return None
        if (file := self._disk.open(blob.sha256, blob.size)) is not None:
            return read_file(file, part.start, part.end)
        filling = self._fillings.get(key)
        if filling is None and part.start == 0 and self._disk.takes(blob.size):
            disk = self._disk
            filling = await self._openings.run(key, lambda: self._fill(disk, key, blob))
            if filling is None:
                return follow(disk, blob, part.start, part.end)
        return filling.read(part.start, part.end) if filling is not None and filling.has(part.start) else None

    async def _fill(self, disk: DiskCache, key: str, blob: Blob) -> Filling | None:
        """Begin to fill the disk with a blob. None: another worker of this machine does that."""
        release = disk.claims.take_now(blob.sha256)
        if release is None:
            return None
        with contextlib.ExitStack() as stack:
            stack.callback(release)
            try:
                draft = disk.draft(blob.sha256)
            except OSError as error:
                raise DiskFailed(str(error)) from error
            stack.callback(draft.close)
            stream = await self._store.open_async(key)
            # From here on it is the filling that closes and releases it.
            stack.pop_all()
        filling = Filling(blob, stream.chunks, draft, lambda: self._ended(key, filling), release)
        self._fillings[key] = filling
        return filling

    def _ended(self, key: str, filling: Filling) -> None:
        if self._fillings.get(key) is filling:
            del self._fillings[key]


def _read_checked(disk: DiskCache, blob: Blob) -> bytes | None:
    # Opened and closed by one thread: who waits for it may leave before it begins.
    data = disk.read(blob.sha256, blob.size)
    if data is None or _sha256(data) != blob.sha256:
        disk.discard(blob.sha256)
        return None
    return data


async def _hash(data: bytes) -> str:
    return await asyncio.to_thread(_sha256, data) if len(data) > LARGE_BYTES else _sha256(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _respond(plan: Plan, data: bytes) -> Response:
    if not plan.parts:
        return Response(plan.head, data)
    # Nothing is copied: who asks for a part and does not read it would hold as much memory beside the cache.
    pieces = [memoryview(data)[part.start : part.end] for part in plan.parts]
    if not plan.seams:
        return Response(plan.head, pieces[0])
    return Response(plan.head, chunks=_joined(plan.seams, pieces))


async def _joined(seams: Sequence[bytes], pieces: Sequence[memoryview]) -> AsyncGenerator[Part, None]:
    for seam, piece in zip(seams, pieces, strict=False):
        yield seam
        yield piece
    yield seams[-1]
