"""Reads the build cache that will probably be wanted while the repository is cloned.

Which one it is says the lock file, which is only there after the clone. Web knows which `node_modules` were saved last;
mostly the lock file is the same still. If it is not, nothing is lost but what was read.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autostack.agent.api import STREAM_BYTES, Api, Cache
from autostack.agent.errors import InfrastructureError
from autostack.agent.shelf import Shelf


class Prefetch:
    """One archive on its way into a file of the agent's, from the moment that this is made."""

    def __init__(self, api: Api, shelf: Shelf | None, folder: Path, max_bytes: int) -> None:
        self._api = api
        self._shelf = shelf
        self._max_bytes = max_bytes
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._size = 0
        self._key: str | None = None
        self._tag: str | None = None
        self._is_here = False
        self._failed = self._is_over = False
        self._guessed, self._answered, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    @contextmanager
    def cache(self, key: str, known: Sequence[str] = ()) -> Iterator[Cache | None]:
        """Give a build cache as `Api.cache` does: the one that is being read if it is this one, else from web."""
        ready = self._ready(key, known)
        if ready:
            yield ready
            return
        with self._api.cache(key, known) as found:
            yield found

    def close(self) -> None:
        """Read no further, and let go of what was read. Its next piece may be long in coming: nobody waits for it."""
        self._closed.set()
        if not self._thread.is_alive() and self._file:
            self._file.close()

    def _ready(self, key: str, known: Sequence[str]) -> Cache | None:
        self._guessed.wait()
        if self._key != key:
            self.close()
            return None
        self._answered.wait()
        if self._tag is None or self._failed or self._closed.is_set():
            return None
        if self._is_here:
            # Another build may have taken meanwhile what this machine had.
            return Cache(self._tag, None) if self._tag in known else None
        return Cache(self._tag, self._chunks())

    def _run(self) -> None:
        try:
            self._key = self._api.likely_cache()
            self._guessed.set()
            if self._key:
                self._read(self._key)
        except (InfrastructureError, OSError):
            self._failed = True
        finally:
            self._guessed.set()
            self._answered.set()
            self._tell(over=True)
            if self._closed.is_set() and self._file:
                self._file.close()

    def _read(self, key: str) -> None:
        with self._api.cache(key, self._shelf.tags(key) if self._shelf else ()) as found:
            if found is None:
                return
            # It has no name: whatever ends this process, nothing is left of it.
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - it outlives the block
            self._tag, self._is_here = found.tag, found.chunks is None
            self._answered.set()
            for chunk in found.chunks or ():
                if self._closed.is_set() or self._size + len(chunk) > self._max_bytes:
                    raise InfrastructureError("the build cache is larger than a cache may be, or wanted no more")
                if self._file.write(chunk) != len(chunk):
                    raise InfrastructureError("there is no room for the build cache")
                self._tell(len(chunk))

    def _tell(self, more: int = 0, *, over: bool = False) -> None:
        with self._more:
            self._size += more
            self._is_over = over
            self._more.notify_all()

    def _chunks(self) -> Iterator[bytes]:
        """Yield what is there, and what comes. Raises InfrastructureError if that is not all."""
        offset = 0
        while self._file and self._wait_beyond(offset):
            chunk = os.pread(self._file.fileno(), STREAM_BYTES, offset)
            offset += len(chunk)
            yield chunk
        if self._failed:
            raise InfrastructureError("the build cache could not be read")

    def _wait_beyond(self, offset: int) -> bool:
        with self._more:
            self._more.wait_for(lambda: self._size > offset or self._is_over)
            return self._size > offset
