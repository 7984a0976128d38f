"""Compressed variants of a file, made while it is read: brotli, zstandard and gzip, kept where they save something."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import brotli
import zstandard

MIN_BYTES = 1_000
SMALL_BYTES = 128 * 1024
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

    def __init__(self, quality: int) -> None:
        self._compressor = brotli.Compressor(quality=quality)

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
    """One encoding of a file, spooled under its hash."""

    sha256: str
    size: int
    path: Path

    def open(self) -> IO[bytes]:
        return self.path.open("rb")


class Variants:
    """Compresses one file in every encoding while it is fed, each into a file of its own in `spool`."""

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
    small = size <= SMALL_BYTES
    return {
        "br": _Brotli(9 if small else 5),
        "zstd": zstandard.ZstdCompressor(level=12 if small else 6).compressobj(size=size),
        "gzip": zlib.compressobj(6, wbits=31),
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
