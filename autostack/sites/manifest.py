"""What a deployment consists of: each path of the site, and the blobs that answer it. Written once, never changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from autostack.errors import Invalid
from autostack.sites.media_types import content_type, is_asset, is_content_hashed

__all__ = ["Blob", "Encoding", "File", "Manifest", "ManifestInvalid", "content_type", "is_asset", "is_content_hashed"]

MAX_PATH_BYTES = 4096

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


Path = Annotated[str, AfterValidator(_checked_path)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0)]
# It is sent as a header: printable ASCII only.
MediaType = Annotated[str, StringConstraints(pattern=r"^[!-~][ -~]{0,199}$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]

_CAMEL_CASE = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Blob:
    """Content by its hash; `size` in bytes."""

    sha256: Sha256
    size: Size


@dataclass(frozen=True, slots=True)
class File:
    """One file of the site, with the variants of it that were compressed when it was published."""

    type: MediaType
    size: Size
    sha256: Sha256
    encodings: dict[Encoding, Blob] = field(default_factory=dict)

    @property
    def identity(self) -> Blob:
        return Blob(self.sha256, self.size)

    def blobs(self) -> Iterator[Blob]:
        """Yield the file's content and its compressed variants."""
        yield self.identity
        yield from self.encodings.values()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A deployment's files by absolute path. `fallback` is what a page that is not there gets, see SERVING.md:

    `auto` the site's `/index.html` unless it has a `404.html`; `spa` always `/index.html`; `none` never.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CAMEL_CASE

    project_id: Uuid
    deployment_id: Uuid
    files: dict[Path, File]
    fallback: Fallback = "auto"
    version: Literal[1] = 1

    def blobs(self) -> set[Blob]:
        """Return everything that must be in the store before this may be served."""
        return {blob for file in self.files.values() for blob in file.blobs()}

    def to_json(self) -> bytes:
        """Return the manifest as it is stored."""
        return _adapter.dump_json(self, by_alias=True)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read and check a manifest. Raises ManifestInvalid, which names the first mistake."""
        try:
            return _adapter.validate_json(data)
        except ValidationError as error:
            raise ManifestInvalid(first_mistake(error)) from None


def first_mistake(error: ValidationError) -> str:
    """Return where the first mistake is and what it is, on one line."""
    mistake = error.errors(include_url=False, include_input=False)[0]
    where = " → ".join(str(part) for part in mistake["loc"] if part != "[key]")
    return f"{where}: {mistake['msg']}" if where else str(mistake["msg"])


_adapter = TypeAdapter(Manifest)
