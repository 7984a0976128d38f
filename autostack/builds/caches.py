"""Build caches in the store: by project and by the branch that made them, pruned by size."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from autostack.errors import NotFound, PayloadTooLarge
from autostack.extensions import settings, store
from autostack.settings import MB
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound


@dataclass(frozen=True)
class Scope:
    """Whose caches a build uses: its project's, of its own branch and of the production branch."""

    project_id: uuid.UUID
    branch: str | None
    production_branch: str


def read(scope: Scope, key: str) -> Iterator[bytes]:
    """Return a cache's stream: the branch's own, else the production branch's. Raises NotFound."""
    for branch in (scope.branch, scope.production_branch):
        try:
            return store().iterate(_name(scope, branch, key))
        except ObjectNotFound:
            continue
    raise NotFound("There is no such cache.")


def write(scope: Scope, key: str, chunks: Iterable[bytes]) -> None:
    """Store a cache for the build's own branch, and let go of the oldest where there are too many.

    Raises PayloadTooLarge, leaving nothing behind.
    """
    most = settings().max_cache_size_mb * MB
    store().put_stream(_name(scope, scope.branch, key), _bounded(chunks, most))
    _prune(str(scope.project_id), most)


def _prune(project_id: str, most: int) -> None:
    """Keep a project's newest caches within the limit that one of them has, three times over."""
    kept = 0
    newest_first = sorted(store().objects(keys.caches(project_id)), key=lambda found: found.modified, reverse=True)
    for found in newest_first:
        kept += found.size
        if kept > 3 * most:
            store().delete(found.key)


def _bounded(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise PayloadTooLarge(f"A build cache has at most {most} bytes.")
        yield chunk


def _name(scope: Scope, branch: str | None, key: str) -> str:
    # A branch's builds never write what another branch's read: a hostile pull request would poison production.
    folder = hashlib.sha256((branch or "").encode()).hexdigest()[:16]
    return keys.cache(str(scope.project_id), f"{folder}-{key}")
