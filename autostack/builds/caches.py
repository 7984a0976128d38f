"""Build caches in the store: by project and by the branch that made them, pruned by size."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from autostack.errors import NotFound, PayloadTooLarge
from autostack.extensions import settings, store
from autostack.settings import MB
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound
from autostack.sites.store import Listed


@dataclass(frozen=True)
class Scope:
    """Whose caches a build uses: its project's, of its own branch and of the production branch."""

    project_id: uuid.UUID
    branch: str | None
    production_branch: str


@dataclass(frozen=True)
class Cache:
    """A cache that a build may read. No two of any project have the same tag."""

    name: str
    tag: str

    def read(self) -> Iterator[bytes]:
        """Return its stream. Raises NotFound if it was let go of meanwhile."""
        try:
            return store().iterate(self.name)
        except ObjectNotFound:
            raise _not_found() from None


def find(scope: Scope, key: str) -> Cache:
    """Return a cache: the branch's own, else the production branch's. Raises NotFound."""
    for branch in (scope.branch, scope.production_branch):
        name = _name(scope, branch, key)
        if version := store().version(name):
            return Cache(name, _tag(name, version))
    raise _not_found()


def likely(scope: Scope) -> str | None:
    """Return the key of the `node_modules` that were saved last: of the branch, else of the production branch."""
    names = [found.key.rpartition("/")[2] for found in _newest_first(scope.project_id)]
    for branch in (scope.branch, scope.production_branch):
        modules = re.compile(rf"{_folder(branch)}-(modules-[a-z0-9-]+)\.tar\.zst")
        if match := next(filter(None, map(modules.fullmatch, names)), None):
            return match[1]
    return None


def write(scope: Scope, key: str, chunks: Iterable[bytes]) -> str | None:
    """Store a cache for the build's own branch, and let go of the oldest where there are too many; return its tag.

    Raises PayloadTooLarge, leaving nothing behind.
    """
    most, name = settings().max_cache_size_mb * MB, _name(scope, scope.branch, key)
    store().put_stream(name, _bounded(chunks, most))
    _prune(scope.project_id, most)
    version = store().version(name)
    return _tag(name, version) if version else None


def _prune(project_id: uuid.UUID, most: int) -> None:
    """Keep a project's newest caches within the limit that one of them has, three times over."""
    kept = 0
    for found in _newest_first(project_id):
        kept += found.size
        if kept > 3 * most:
            store().delete(found.key)


def _newest_first(project_id: uuid.UUID) -> list[Listed]:
    return sorted(store().objects(keys.caches(str(project_id))), key=lambda found: found.modified, reverse=True)


def _bounded(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise PayloadTooLarge(f"A build cache has at most {most} bytes.")
        yield chunk


def _not_found() -> NotFound:
    return NotFound("There is no such cache.")


def _tag(name: str, version: str) -> str:
    # The name holds project and branch: a builder's disk keeps archives of many unpacked, told apart by this alone.
    return hashlib.sha256(f"{name}\n{version}".encode()).hexdigest()


def _name(scope: Scope, branch: str | None, key: str) -> str:
    return keys.cache(str(scope.project_id), f"{_folder(branch)}-{key}")


def _folder(branch: str | None) -> str:
    # A branch's builds never write what another branch's read: a hostile pull request would poison production.
    return hashlib.sha256((branch or "").encode()).hexdigest()[:16]
