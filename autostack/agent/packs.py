"""Small files and their variants, many in one blob: sending each by itself takes a store far longer than its bytes."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

# At most. A pack stays for as long as a deployment needs anything in it: this is little, and packs are few.
PACK_BYTES = 1_000_000


@dataclass(eq=False)
class Pack:
    """A blob of several contents. It has a hash once it is closed, and no file where an earlier build has sent it."""

    sha256: str = ""
    size: int = 0
    path: Path | None = None

    @property
    def is_closed(self) -> bool:
        return bool(self.sha256)


class _Draft:
    """A pack that is being written."""

    def __init__(self, spool: Path) -> None:
        path = spool / f"pack-{os.urandom(8).hex()}"
        self.pack = Pack(path=path)
        self._file = path.open("xb")
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> int:
        start = self.pack.size
        self._file.write(data)
        self._digest.update(data)
        self.pack.size += len(data)
        return start

    def close(self) -> None:
        self._file.close()
        self.pack.sha256 = self._digest.hexdigest()


class Packs:
    """The packs that a build makes, one after another, each a file in `spool`. Safe to use from several threads."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._draft: _Draft | None = None
        self._places: dict[str, tuple[Pack, int]] = {}

    def add(self, data: bytes, sha256: str) -> tuple[Pack, int]:
        """Put a content into a pack, unless one has it; return which, and where in it the content begins."""
        with self._lock:
            place = self._places.get(sha256)
            if place is None:
                place = self._places[sha256] = self._put(data)
            return place

    def _put(self, data: bytes) -> tuple[Pack, int]:
        if self._draft and self._draft.pack.size + len(data) > PACK_BYTES:
            self._end(self._draft)
        draft = self._draft = self._draft or _Draft(self._spool)
        return draft.pack, draft.add(data)

    def close(self) -> None:
        """Close the last pack. There may be none."""
        with self._lock:
            if self._draft:
                self._end(self._draft)

    def _end(self, draft: _Draft) -> None:
        draft.close()
        self._draft = None
