"""What deployments consist of, from memory, from the disk, or from the store."""

from __future__ import annotations

import asyncio
import contextlib

from autostack.proxy.cache import BoundedCache, SingleFlight
from autostack.proxy.disk import DiskCache
from autostack.sites import keys
from autostack.sites.manifest import Manifest, ManifestInvalid
from autostack.sites.store import Store
from autostack.sites.stored import read_stored

# A manifest takes about this many times its JSON's length in memory, and so much more.
OVERHEAD = 2
OVERHEAD_BYTES = 1_500
# Reading a larger one might hold up other visitors for more than a few milliseconds, if most of it is rules.
LARGE_BYTES = 100_000
# So does making more rules ready.
MANY_RULES = 50


class Manifests:
    """The manifests of the deployments that were asked for lately. For one event loop."""

    def __init__(self, store: Store, max_bytes: int, disk: DiskCache | None = None) -> None:
        self._store = store
        self._disk = disk
        self._kept: BoundedCache[str, Manifest] = BoundedCache(max_bytes)
        self._reads: SingleFlight[str, Manifest] = SingleFlight()
        self.get_now = self._kept.get

    async def get(self, project_id: str, id: str) -> Manifest:
        """Return a deployment's manifest. Raises StoreUnavailable, ObjectNotFound, ManifestInvalid."""
        return self._kept.get(id) or await self._reads.run(id, lambda: self._read_and_keep(project_id, id))

    async def peek(self, project_id: str, id: str) -> Manifest:
        """Return the same, keeping in memory only what is there already."""
        return self._kept.get(id) or (await self._read(project_id, id))[0]

    async def _read_and_keep(self, project_id: str, id: str) -> Manifest:
        manifest, length = await self._read(project_id, id)
        self._kept.put(id, manifest, length * OVERHEAD + OVERHEAD_BYTES + manifest.matcher.expressions_bytes)
        return manifest

    async def _read(self, project_id: str, id: str) -> tuple[Manifest, int]:
        saved = await self._read_from_disk(project_id, id)
        if saved is not None:
            return saved
        if self._disk is not None:
            return await self._share(project_id, id, self._disk)
        data = await self._fetch(project_id, id)
        return await _parse(data), len(data)

    async def _fetch(self, project_id: str, id: str) -> bytes:
        return await self._store.get_short_async(keys.manifest(project_id, id))

    async def _share(self, project_id: str, id: str, disk: DiskCache) -> tuple[Manifest, int]:
        """Fetch for the other workers of this machine, too, or have what one of them fetches."""
        release = await disk.claims.take(id)
        writing: asyncio.Future[None] | None = None
        try:
            saved = await self._read_from_disk(project_id, id)
            if saved is None:
                data = await self._fetch(project_id, id)
                saved = await _parse(data), len(data)
                # No visitor waits for that.
                writing = asyncio.get_running_loop().run_in_executor(None, disk.write, id, data)
            return saved
        finally:
            if writing is None:
                release()
            else:
                writing.add_done_callback(lambda _: release())

    async def _read_from_disk(self, project_id: str, id: str) -> tuple[Manifest, int] | None:
        if self._disk is None or not self._disk.has(id):
            return None
        data = await asyncio.to_thread(self._disk.read, id)
        # What a power cut left half written is no JSON, or not of this deployment.
        with contextlib.suppress(ManifestInvalid):
            manifest = await _parse(data or b"")
            if (manifest.project_id, manifest.deployment_id) == (project_id, id):
                return manifest, len(data or b"")
        self._disk.discard(id)
        return None


async def _parse(data: bytes) -> Manifest:
    """Return a manifest that is ready to be asked."""
    is_large = len(data) > LARGE_BYTES
    manifest = await asyncio.to_thread(read_stored, data) if is_large else read_stored(data)
    if len(manifest.rules.redirects) + len(manifest.rules.headers) > MANY_RULES:
        await asyncio.to_thread(lambda: manifest.matcher)
    return manifest
