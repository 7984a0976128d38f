"""A large blob on its way from the store to the disk: read once, at the store's pace, for all who want it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, Callable

from autostack.proxy.disk import DiskCache, Draft
from autostack.sites.errors import StoreUnavailable
from autostack.sites.manifest import Blob

READ_BYTES = 256 * 1024
CHUNK_TIMEOUT_S = 15
# How often it is looked what another worker has done, and how many times whether it has begun.
LOOK_AFTER_S = 0.005
LOOKS = 40


class DiskFailed(Exception):
    """What was read cannot be kept. The visitors have to be served without the disk."""


class Filling:
    """One blob that is being read. It ends when it is whole, when it cannot go on, or when the last visitor leaves."""

    def __init__(
        self,
        blob: Blob,
        chunks: AsyncGenerator[bytes, None],
        draft: Draft,
        ended: Callable[[], None],
        released: Callable[[], None],
    ) -> None:
        """`ended` is called when nobody can join any more, perhaps twice; `released` when another may fill it."""
        self._blob = blob
        self._draft = draft
        self._ended = ended
        self._released = released
        self._filled = 0
        self._news = asyncio.Event()
        self._error: Exception | None = None
        self._visitors = 0
        self._task = asyncio.create_task(self._fill(chunks))
        self._task.add_done_callback(self._end)

    def has(self, start: int) -> bool:
        """Tell whether whoever wants the bytes from `start` on waits for nothing, or for the next ones."""
        return start <= self._filled

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to `end` as they come. Raises StoreUnavailable, DiskFailed."""
        self._visitors += 1
        try:
            while start < end:
                ready = await self._wait_for_more_than(start)
                size = min(READ_BYTES, ready - start, end - start)
                chunk = await asyncio.to_thread(self._draft.read, size, start)
                start += len(chunk)
                yield chunk
        finally:
            self._visitors -= 1
            if not self._visitors and self._filled < self._blob.size:
                self._ended()
                self._task.cancel()
            self._close_if_left()

    async def _wait_for_more_than(self, start: int) -> int:
        while self._filled <= start:
            if self._error is not None:
                raise self._error
            await self._news.wait()
        return self._filled

    async def _fill(self, chunks: AsyncGenerator[bytes, None]) -> None:
        digest, received = hashlib.sha256(), 0
        async with contextlib.aclosing(chunks):
            async for chunk in patiently(chunks):
                await asyncio.to_thread(self._add, chunk, digest)
                received += len(chunk)
                # The last bytes are given out once the whole is known to be right: nobody takes another for it.
                if received < self._blob.size:
                    self._filled = received
                    self._tell()
        if received != self._blob.size or digest.hexdigest() != self._blob.sha256:
            raise StoreUnavailable(f"The object store has another content for {self._blob.sha256}.")
        self._filled = received
        self._tell()
        await asyncio.to_thread(self._draft.keep, self._blob.sha256)

    def _add(self, chunk: bytes, digest: hashlib._Hash) -> None:
        digest.update(chunk)
        self._draft.write(chunk)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OSError):
            error = DiskFailed(str(error))
        self._error = error if isinstance(error, Exception) else StoreUnavailable("Nobody waits for this file.")
        self._ended()
        self._tell()
        discarding = asyncio.get_running_loop().run_in_executor(None, self._draft.discard)
        discarding.add_done_callback(lambda _: self._released())
        self._close_if_left()

    def _close_if_left(self) -> None:
        if self._task.done() and not self._visitors:
            # A thread may be writing still.
            asyncio.get_running_loop().run_in_executor(None, self._draft.close)


async def follow(disk: DiskCache, blob: Blob, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """Yield a part of what another worker of this machine fills. Raises DiskFailed when that does not go on."""
    file = await _open_when_begun(disk, blob)
    try:
        while start < end:
            # Looked at first: whatever was written until then is found. What has no name any more is not written to.
            goes_on = disk.claims.is_taken(blob.sha256) and os.fstat(file).st_nlink > 0
            chunk = await asyncio.to_thread(os.pread, file, min(READ_BYTES, end - start), start)
            if chunk:
                start += len(chunk)
                yield chunk
            elif not goes_on:
                raise DiskFailed("Nobody fills it any more.")
            else:
                await asyncio.sleep(LOOK_AFTER_S)
    finally:
        os.close(file)


async def _open_when_begun(disk: DiskCache, blob: Blob) -> int:
    for _ in range(LOOKS):
        if (draft := disk.open_draft(blob.sha256)) is not None:
            return draft
        if (whole := disk.open(blob.sha256, blob.size)) is not None:
            return whole
        await asyncio.sleep(LOOK_AFTER_S)
    raise DiskFailed("Nobody has begun to fill it.")


async def read_file(file: int, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """Yield a part of an open file, and close it."""
    try:
        while start < end:
            chunk = await asyncio.to_thread(os.pread, file, min(READ_BYTES, end - start), start)
            if not chunk:
                raise StoreUnavailable("A file of the disk cache became shorter.")
            start += len(chunk)
            yield chunk
    finally:
        os.close(file)


async def patiently(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield chunks. A stall in mid-body can only be answered by breaking off: raises StoreUnavailable."""
    while True:
        try:
            async with asyncio.timeout(CHUNK_TIMEOUT_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise StoreUnavailable("The object store stalled in the middle of a file.") from None
        yield chunk
