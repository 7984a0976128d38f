"""What a deployment consists of: each path of the site, and the blobs that answer it. Written once, never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from autostack.errors import Invalid
from autostack.sites.media_types import content_type, is_asset, is_content_hashed
from autostack.sites.rules.match import Matcher
from autostack.sites.rules.model import Rules

__all__ = [
    "Blob",
    "Encoding",
    "File",
    "Manifest",
    "ManifestInvalid",
    "Summary",
    "content_type",
    "hashes_in",
    "is_asset",
    "is_content_hashed",
    "summarize",
]

MAX_PATH_BYTES = 4096
# What is packed is small: whoever reads it, reads it whole.
MAX_PACKED_BYTES = 1_000_000

Encoding = Literal["br", "gzip", "zstd"]
Fallback = Literal["auto", "spa", "none"]


class ManifestInvalid(Invalid):
    """A manifest that breaks its own rules. The message names the path and the rule."""

    code = "MANIFEST_INVALID"


def _checked_path(path: str) -> str:
    # With no empty, `.` and `..` segments, a path has one spelling, and none leads out of a folder or to another host.
    segments = path.split("/")
    if segments[0] != "" or len(segments) < 2 or not all(segments[1:]):
        raise ValueError("a path begins with one slash and has no empty segment")
    if "." in segments or ".." in segments:
        raise ValueError("a path has no . or .. segment")
    if "\0" in path or len(path.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"a path has no NUL and at most {MAX_PATH_BYTES} bytes")
    return path


def check_place(size: int, pack: str | None, start: int | None) -> None:
    """Raise ValueError for a large content in a pack, and for a place in none."""
    if (pack is None) != (start is None) or (pack is not None and size > MAX_PACKED_BYTES):
        raise ValueError(f"what is packed has a pack, a start and at most {MAX_PACKED_BYTES} bytes")


Path = Annotated[str, AfterValidator(_checked_path)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0)]
# It is sent as a header: printable ASCII only.
MediaType = Annotated[str, StringConstraints(pattern=r"^[!-~][ -~]{0,199}$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]

_CAMEL_CASE = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Blob:
    """Content by its hash; `size` in bytes. It is an object of the store, or from `start` on in one: in a pack.

    Raises ValueError for a large one in a pack, and for a place in none.
    """

    sha256: Sha256
    size: Size
    pack: Sha256 | None = None
    start: Size | None = None

    def __post_init__(self) -> None:
        check_place(self.size, self.pack, self.start)

    @property
    def stored_as(self) -> str:
        """The hash of the object that it is, or is in."""
        return self.pack or self.sha256


@dataclass(frozen=True, slots=True)
class File:
    """One file of the site, with the variants of it that were compressed when it was published.

    A small one may be in a pack itself. Raises ValueError as `Blob` does.
    """

    type: MediaType
    size: Size
    sha256: Sha256
    encodings: dict[Encoding, Blob] = field(default_factory=dict)
    pack: Sha256 | None = None
    start: Size | None = None

    def __post_init__(self) -> None:
        check_place(self.size, self.pack, self.start)

    @property
    def identity(self) -> Blob:
        return Blob(self.sha256, self.size, self.pack, self.start)

    def blobs(self) -> Iterator[Blob]:
        """Yield the file's content and its compressed variants."""
        yield self.identity
        yield from self.encodings.values()


NO_RULES = Rules()


@dataclass(frozen=True)
class Manifest:
    """A deployment's files by absolute path, and its owner's rules.

    `fallback` is what a page that is not there gets, see SERVING.md:

    `auto` the site's `/index.html` unless it has a `404.html`; `spa` always `/index.html`; `none` never.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CAMEL_CASE

    project_id: Uuid
    deployment_id: Uuid
    files: Mapping[Path, File]
    fallback: Fallback = "auto"
    rules: Rules = NO_RULES
    version: Literal[1] = 1

    @cached_property
    def matcher(self) -> Matcher:
        """The rules, ready to be evaluated."""
        return Matcher(self.rules)

    def blobs(self) -> set[Blob]:
        """Return all contents that this serves."""
        return {blob for file in self.files.values() for blob in file.blobs()}

    def hashes(self) -> set[str]:
        """Return the hashes of everything that must be in the store before this may be served."""
        return {blob.stored_as for file in self.files.values() for blob in file.blobs()}

    def to_json(self) -> bytes:
        """Return the manifest as it is stored."""
        return _adapter.dump_json(self, by_alias=True, exclude_none=True)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read and check a manifest. Raises ManifestInvalid, which names the first mistake."""
        try:
            manifest = _adapter.validate_json(data)
        except ValidationError as error:
            raise ManifestInvalid(first_mistake(error)) from None
        # Here and not at the first request: whoever reads a large manifest does so where it holds up nobody.
        _ = manifest.matcher
        return manifest


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in a stored manifest: the hashes of its objects, how many files it has, and their bytes."""

    hashes: set[str]
    file_count: int
    total_bytes: int


class _Part(msgspec.Struct, gc=False):
    sha256: str
    size: int
    pack: str | None = None


class _File(_Part, gc=False):
    encodings: dict[str, _Part] = {}


class _Files(msgspec.Struct, gc=False):
    files: dict[str, _File]


_files_decoder = msgspec.json.Decoder(_Files)


def summarize(data: bytes) -> Summary:
    """Return what is in a manifest that was checked when it was stored; reading it takes many times as long.

    Raises ManifestInvalid.
    """
    try:
        files = _files_decoder.decode(data).files.values()
    except msgspec.MsgspecError:
        raise ManifestInvalid("What is stored is no manifest.") from None
    hashes = {part.pack or part.sha256 for file in files for part in (file, *file.encodings.values())}
    return Summary(hashes, len(files), sum(file.size for file in files))


def hashes_in(data: bytes) -> set[str]:
    """Return the hashes of a stored manifest's objects. Raises ManifestInvalid."""
    return summarize(data).hashes


def first_mistake(error: ValidationError) -> str:
    """Return where the first mistake is and what it is, on one line."""
    mistake = error.errors(include_url=False, include_input=False)[0]
    where = " → ".join(str(part) for part in mistake["loc"] if part != "[key]")
    return f"{where}: {mistake['msg']}" if where else str(mistake["msg"])


_adapter = TypeAdapter(Manifest)
