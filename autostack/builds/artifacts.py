"""A build's output on its way into the store: which blobs are wanted, and what arrives."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from autostack.builds.schemas import FileIn
from autostack.errors import Invalid
from autostack.extensions import settings, store
from autostack.settings import MB, Settings
from autostack.sites import keys
from autostack.sites.manifest import File, Manifest, content_type
from autostack.sites.signing import SignedUpload

# Long enough for the slowest upload of a build, short enough that a leaked address is soon worthless.
UPLOAD_TTL_S = 3_600


class BlobMismatch(Invalid):
    code = "BLOB_MISMATCH"


@dataclass(frozen=True)
class Wanted:
    """A blob that the store lacks; `signed` is None where web takes it itself."""

    sha256: str
    signed: SignedUpload | None


def propose(
    project_id: uuid.UUID, deployment_id: uuid.UUID, attempt_id: uuid.UUID, files: list[FileIn]
) -> list[Wanted]:
    """Keep the list of files that an attempt built, and return the blobs that are wanted for it.

    Raises Invalid naming the file and the limit, ManifestInvalid.
    """
    _check_limits(files, settings())
    project, deployment = str(project_id), str(deployment_id)
    manifest = Manifest(
        project_id=project,
        deployment_id=deployment,
        files={
            file.path: File(content_type(file.path), file.size, file.sha256, dict(file.encodings)) for file in files
        },
    )
    store().put(keys.listing(project, deployment, str(attempt_id)), manifest.to_json())
    sizes = {blob.sha256: blob.size for blob in manifest.blobs()}
    by_key = {keys.blob(project, sha256): sha256 for sha256 in sizes}
    missing = store().missing(by_key)
    return [
        Wanted(by_key[key], store().sign_put(key, by_key[key], sizes[by_key[key]], UPLOAD_TTL_S))
        for key in sorted(missing)
    ]


def receive(project_id: uuid.UUID, sha256: str, chunks: Iterable[bytes]) -> None:
    """Store a blob from a stream. Raises BlobMismatch, leaving nothing behind, if it is not what its name says."""
    store().put_stream(keys.blob(str(project_id), sha256), _verified(chunks, sha256, settings().max_file_size_mb * MB))


def _verified(chunks: Iterable[bytes], sha256: str, most: int) -> Iterator[bytes]:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if size > most:
            raise BlobMismatch(f"A file has at most {most} bytes.")
        yield chunk
    if digest.hexdigest() != sha256:
        raise BlobMismatch("The content does not have the hash in its address.")


def _check_limits(files: list[FileIn], config: Settings) -> None:
    if not files:
        raise Invalid("The output folder is empty")
    if len(files) > config.max_build_files:
        raise Invalid(f"The output has {len(files)} files; the limit is {config.max_build_files} (MAX_BUILD_FILES)")
    largest = max(files, key=lambda file: file.size)
    if largest.size > config.max_file_size_mb * MB:
        raise Invalid(f"{largest.path} is larger than the limit of {config.max_file_size_mb} MB (MAX_FILE_SIZE)")
    if sum(file.size for file in files) > config.max_build_bytes:
        raise Invalid(f"The output is larger than the limit of {config.max_build_size_mb} MB (MAX_BUILD_SIZE)")
