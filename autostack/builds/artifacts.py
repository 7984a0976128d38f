"""A build's output on its way into the store: which blobs are wanted, and what arrives."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from autostack.builds.caches import Scope
from autostack.builds.models import BuildAttempt
from autostack.builds.schemas import FileIn
from autostack.deployments import leases
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.errors import Invalid, NotFound
from autostack.extensions import db, settings, store
from autostack.settings import MB, Settings
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound
from autostack.sites.manifest import Blob, Fallback, Manifest, ManifestInvalid, hashes_in
from autostack.sites.rules.model import Rules
from autostack.sites.signing import SignedUpload
from autostack.sites.store import FEW_NAMES

# Long enough for the slowest upload of a build, short enough that a leaked address is soon worthless.
UPLOAD_TTL_S = 3_600
# How many times the largest output a build may send: each file and its three variants, and all of that once more.
MAX_SENT = 8


class BlobMismatch(Invalid):
    code = "BLOB_MISMATCH"


@dataclass(frozen=True)
class Wanted:
    """A blob that the store lacks; `signed` is None where web takes it itself."""

    sha256: str
    signed: SignedUpload | None


def propose(
    scope: Scope,
    deployment_id: uuid.UUID,
    attempt_id: uuid.UUID,
    files: list[FileIn],
    rules: Rules,
    fallback: Fallback = "auto",
) -> list[Wanted]:
    """Keep the list of files that an attempt built, and return the blobs that are wanted for it.

    With it are kept the site's rules, and what a page that is not there gets. Raises Invalid naming the file and the
    limit, ManifestInvalid, Unavailable while garbage is deleted.
    """
    # A site that only leads elsewhere is one, too.
    if files or not rules.redirects:
        _check_limits(files, settings())
    project, deployment = str(scope.project_id), str(deployment_id)
    manifest = Manifest(
        project_id=project,
        deployment_id=deployment,
        files={file.path: file.file() for file in files},
        fallback=fallback,
        rules=rules,
    )
    listing, data = keys.listing(project, deployment, str(attempt_id)), manifest.to_json()

    def keep_and_compare() -> set[str]:
        store().put(listing, data)
        return missing(scope, manifest.hashes())

    # What is listed is no garbage from now on; what was deleted just before, is missing.
    lacking = leases.undisturbed(scope.project_id, keep_and_compare)
    return _wanted(project, _sizes_of(lacking, manifest))


def count_sent(attempt: BuildAttempt, size: int) -> None:
    """Count bytes that an attempt sends. Commits. Raises Invalid if they are too many by now."""
    attempt.sent_bytes += size
    too_many = attempt.sent_bytes > MAX_SENT * settings().max_build_bytes
    db.session.commit()
    if too_many:
        most = MAX_SENT * settings().max_build_size_mb
        raise Invalid(f"The build sends more than {most} MB in all ({MAX_SENT} times MAX_BUILD_SIZE)")


def invite(project_id: uuid.UUID, blobs: list[Blob]) -> list[Wanted]:
    """Return where blobs go that a build has and its branch did not, before it knows all of its files.

    Raises Invalid for one that is too large.
    """
    most = settings().max_file_size_mb * MB
    if any(blob.size > most for blob in blobs):
        raise Invalid(f"A file has at most {most} bytes.")
    return _wanted(str(project_id), {blob.sha256: blob.size for blob in blobs})


def previous(scope: Scope) -> bytes:
    """Return the manifest of what the branch showed last, else of what production did. Raises NotFound.

    As with caches: what another branch's builds wrote is never built upon.
    """
    id = _latest(scope)
    # No connection of the pool waits for the store.
    db.session.commit()
    try:
        if id is not None:
            return store().get(keys.manifest(str(scope.project_id), str(id)))
    except ObjectNotFound:
        pass
    raise NotFound("Nothing was deployed before.")


def missing(scope: Scope, hashes: set[str], *, trusting: bool = True) -> set[str]:
    """Return those of a manifest's objects, given by their hashes, that the store lacks.

    `trusting`: it has what a deployment consists of that is there; to have it tell the others apart from those takes
    long where there are many.
    """
    project = str(scope.project_id)
    if trusting and not store().is_folder and len(hashes) > FEW_NAMES:
        hashes = hashes - _settled(scope)
    by_key = {keys.blob(project, sha256): sha256 for sha256 in hashes}
    return {by_key[key] for key in store().missing(by_key)}


def _settled(scope: Scope) -> set[str]:
    try:
        return hashes_in(previous(scope))
    except (NotFound, ManifestInvalid):
        return set()


def _latest(scope: Scope) -> uuid.UUID | None:
    ended_well = (Deployment.project_id == scope.project_id, Deployment.status == Status.SUCCESS)
    branches = Deployment.branch.in_([scope.branch, scope.production_branch])
    best_first = ((Deployment.branch == scope.branch).desc(), Deployment.sequence.desc())
    found: uuid.UUID | None = db.session.scalar(
        select(Deployment.id).where(*ended_well, branches).order_by(*best_first).limit(1)
    )
    return found


def _sizes_of(lacking: set[str], manifest: Manifest) -> dict[str, int | None]:
    """Return the sizes of blobs, None for packs: how large those are is not listed."""
    sizes: dict[str, int | None] = dict.fromkeys(sorted(lacking))
    if sizes:
        sizes |= {blob.sha256: blob.size for blob in manifest.blobs() if blob.pack is None and blob.sha256 in lacking}
    return sizes


def _wanted(project_id: str, sizes: Mapping[str, int | None]) -> list[Wanted]:
    """Return where objects of these hashes go: to web, if their size is not known, for a signature needs it."""
    sign = store().sign_put
    return [
        Wanted(sha256, None if size is None else sign(keys.blob(project_id, sha256), sha256, size, UPLOAD_TTL_S))
        for sha256, size in sizes.items()
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
