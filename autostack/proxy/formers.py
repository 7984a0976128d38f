"""Skew protection: what the deployments that a host showed before lend to pages that were opened then.

Only files whose name holds a hash of their content are lent: whichever deployment they come from, they are the same.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from autostack.proxy.cache import BoundedCache, SingleFlight
from autostack.proxy.manifests import Manifests
from autostack.settings import MB, Settings
from autostack.sites.errors import ObjectNotFound
from autostack.sites.manifest import File, Manifest, ManifestInvalid
from autostack.sites.media_types import is_content_hashed
from autostack.sites.routes import Route

# A path and a file with its variants take about this much memory. What a newer deployment has, too, is shared.
BYTES_PER_FILE = 800
BYTES_PER_SHARED_FILE = 120
BYTES_PER_DEPLOYMENT = 400
MANY_FILES = 50
# A host may have hundreds of former deployments: one after another, reading them takes longer than a visitor waits.
MANY_AT_ONCE = 8


class Unread(Exception):
    """A deployment that was live here has to be read first."""


@dataclass(frozen=True, slots=True)
class Lent:
    """A file, and the deployment that lends it."""

    deployment_id: str
    file: File


class Formers:
    """The content-hashed files of former deployments, each read once. For one event loop."""

    def __init__(self, read: Callable[[str, str], Awaitable[Manifest]], max_bytes: int) -> None:
        """`read` gives the manifest of a project's deployment, by their ids."""
        self._read = read
        # One host's former deployments must not drive out each other, so the oldest of very many lend nothing.
        self._max_files = max_bytes // 2 // BYTES_PER_SHARED_FILE
        self._assets: BoundedCache[str, Mapping[str, File]] = BoundedCache(max_bytes)
        self._reads: SingleFlight[tuple[str, ...], list[Mapping[str, File]]] = SingleFlight()

    def find_now(self, route: Route, path: str) -> File | None:
        """Return a missing file as a former deployment has it, None if none has. Raises Unread."""
        if not is_content_hashed(path):
            return None
        left = self._max_files
        for id in route.former:
            assets = self._assets.get(id)
            if assets is None:
                raise Unread
            if path in assets:
                return assets[path]
            if (left := left - len(assets)) < 0:
                break
        return None

    async def find(self, route: Route, path: str) -> Lent | None:
        """Return the same and who lends it, reading what has to be read. Raises StoreUnavailable, TimeoutError."""
        left = self._max_files
        newer: Mapping[str, File] = {}
        for start in range(0, len(route.former), MANY_AT_ONCE):
            ids = route.former[start : start + MANY_AT_ONCE]
            # Whoever comes next goes on where this visitor ran out of time: what was read is kept.
            load = partial(self._load, route.project_id, ids, newer, left)
            for id, assets in zip(ids, await self._reads.run(ids, load), strict=False):
                if path in assets:
                    return Lent(id, assets[path])
                if (left := left - len(assets)) < 0:
                    return None
                newer = assets
        return None

    async def _load(
        self, project_id: str, ids: tuple[str, ...], newer: Mapping[str, File], left: int
    ) -> list[Mapping[str, File]]:
        """Read these at once. Returns what they lend, up to the first with which that is more than `left` files."""
        kept = {id: assets for id in ids if (assets := self._assets.get(id)) is not None}
        unread = [id for id in ids if id not in kept]
        reads = (self._read_hashed(project_id, id) for id in unread)
        read = dict(zip(unread, await asyncio.gather(*reads, return_exceptions=True), strict=True))
        lent: list[Mapping[str, File]] = []
        for id in ids:
            newer = kept[id] if id in kept else self._keep(id, read[id], newer)
            lent.append(newer)
            if (left := left - len(newer)) < 0:
                break
        return lent

    async def _read_hashed(self, project_id: str, id: str) -> dict[str, File]:
        try:
            files = (await self._read(project_id, id)).files
            # Thousands take a while, in which others are to be answered.
            return await asyncio.to_thread(_hashed, files) if len(files) > MANY_FILES else _hashed(files)
        except (ObjectNotFound, ManifestInvalid):
            # It was deleted a moment ago, and the route that says so is on its way; or it cannot be shown anyway.
            return {}

    def _keep(self, id: str, assets: dict[str, File] | BaseException, newer: Mapping[str, File]) -> Mapping[str, File]:
        """Keep what was read, sharing what a newer deployment has, too. Raises what reading it raised."""
        if isinstance(assets, BaseException):
            raise assets
        shared = {path: newer[path] for path, file in assets.items() if newer.get(path) == file}
        cost = BYTES_PER_FILE * (len(assets) - len(shared)) + BYTES_PER_SHARED_FILE * len(shared)
        assets.update(shared)
        self._assets.put(id, assets, BYTES_PER_DEPLOYMENT + cost)
        return assets


def open_formers(manifests: Manifests, settings: Settings) -> Formers:
    """Return what looks through former deployments as far back as these settings have memory for."""
    return Formers(manifests.peek, settings.proxy_cache_mb * MB // 16)


def _hashed(files: Mapping[str, File]) -> dict[str, File]:
    return {sys.intern(path): files[path] for path in files if is_content_hashed(path)}
