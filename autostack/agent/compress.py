"""Compressed variants of a file: brotli, zstandard and gzip, kept where they save something.

Those of a small file are made at once and go into packs, those of a large one while it is read, each into a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import brotli
import zstandard

from autostack.agent.packs import Pack, Packs

MIN_BYTES = 1_000
SMALL_BYTES = 128 * 1024
# RFC 7932, section 9.1: a window has 2 ** bits - 16 bytes. The largest is the library's default.
WINDOW_RESERVE, MIN_WINDOW, MAX_WINDOW = 16, 10, 22
# A variant that is not at least a tenth smaller costs a visitor's browser more than it saves.
WORTH_KEEPING = 0.9
SUFFIXES = re.compile(
    r"atom|cjs|css|csv|eot|geojson|gltf|graphql|html?|ico|ics|js|json|json5|jsonld|map|mdx?|mjs|otf|rss|svg|text"
    r"|topojson|ts|tsv|ttf|txt|vtt|wasm|webmanifest|xhtml|xml|xsl|ya?ml"
)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Brotli:
    """brotli's streaming object under the names that the other two have."""

    def __init__(self, quality: int, size: int) -> None:
        # A window that just holds the file: of the default one, most of a small file's time went into clearing memory.
        window = (size + WINDOW_RESERVE).bit_length()
        self._compressor = brotli.Compressor(quality=quality, lgwin=min(max(window, MIN_WINDOW), MAX_WINDOW))

    def compress(self, data: bytes, /) -> bytes:
        compressed: bytes = self._compressor.process(data)
        return compressed

    def flush(self) -> bytes:
        compressed: bytes = self._compressor.finish()
        return compressed


def is_compressible(name: str, size: int) -> bool:
    """Tell by its name and size whether a file is worth compressing."""
    return size >= MIN_BYTES and SUFFIXES.fullmatch(name.rpartition(".")[2].lower()) is not None


@dataclass(frozen=True)
class Variant:
    """One encoding of a file, or a small file as it is: in a pack from `start` on, or a blob of its own.

    A blob is spooled under its hash, and has no path where an earlier build has made and sent it.
    """

    sha256: str
    size: int
    path: Path | None = None
    pack: Pack | None = None
    start: int = 0

    @property
    def blob(self) -> str:
        """The hash of the blob that it is, or is in."""
        return self.pack.sha256 if self.pack else self.sha256

    def as_json(self) -> dict[str, str | int]:
        """Return the variant as the agents' API takes it."""
        if self.pack is None:
            return {"sha256": self.sha256, "size": self.size}
        return {"sha256": self.sha256, "size": self.size, "pack": self.pack.sha256, "start": self.start}

    @classmethod
    def of_earlier(cls, given: Mapping[str, Any]) -> Variant:
        """Read what an earlier build's manifest says of it."""
        pack = Pack(str(given["pack"])) if given.get("pack") else None
        return cls(str(given["sha256"]), int(given["size"]), None, pack, int(given.get("start") or 0))


def pack_content(data: bytes, sha256: str, packs: Packs) -> Variant:
    """Put bytes into a pack, and return them as what is there."""
    pack, start = packs.add(data, sha256)
    return Variant(sha256, len(data), None, pack, start)


def pack_variants(data: bytes, packs: Packs) -> dict[str, Variant]:
    """Compress a small file in every encoding, and return those worth keeping, packed."""
    kept = {}
    for name, compressor in _compressors(len(data)).items():
        compressed = compressor.compress(data) + compressor.flush()
        if len(compressed) <= len(data) * WORTH_KEEPING:
            kept[name] = pack_content(compressed, hashlib.sha256(compressed).hexdigest(), packs)
    return kept


class Variants:
    """Compresses one large file in every encoding while it is fed, each into a file of its own in `spool`."""

    def __init__(self, spool: Path, size: int) -> None:
        self._size = size
        self._spools = {name: _Spool(spool, compressor) for name, compressor in _compressors(size).items()}

    def feed(self, chunk: bytes) -> None:
        for spool in self._spools.values():
            spool.feed(chunk)

    def finish(self) -> dict[str, Variant]:
        """Return the variants that are worth keeping, by the name of their encoding."""
        kept = {}
        for name, spool in self._spools.items():
            variant = spool.finish(self._size * WORTH_KEEPING)
            if variant is not None:
                kept[name] = variant
        return kept

    def discard(self) -> None:
        for spool in self._spools.values():
            spool.discard()


def _compressors(size: int) -> dict[str, _Compressor]:
    # What a higher level takes off a small file are a few parts in a thousand, for a third more of the time.
    small = size <= SMALL_BYTES
    return {
        "br": _Brotli(6 if small else 5, size),
        "zstd": zstandard.ZstdCompressor(level=9 if small else 6).compressobj(size=size),
        "gzip": zlib.compressobj(5 if small else 6, wbits=31),
    }


class _Spool:
    """One encoding's output on its way to disk."""

    def __init__(self, folder: Path, compressor: _Compressor) -> None:
        self._draft = folder / f"draft-{os.urandom(8).hex()}"
        self._file = self._draft.open("xb")
        self._compressor = compressor
        self._hash = hashlib.sha256()
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._keep(self._compressor.compress(chunk))

    def finish(self, max_size: float) -> Variant | None:
        self._keep(self._compressor.flush())
        self._file.close()
        if self._size > max_size:
            self.discard()
            return None
        path = self._draft.with_name(self._hash.hexdigest())
        self._draft.rename(path)
        return Variant(self._hash.hexdigest(), self._size, path)

    def discard(self) -> None:
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def _keep(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)
