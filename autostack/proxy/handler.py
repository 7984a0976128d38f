"""From a request to its response: host → route → manifest → file → bytes.

What is in memory is answered at once, in `answer_now`; everything else is fetched first, in `answer`, within
ANSWER_TIMEOUT_S, so that a visitor never hangs on a store that stalls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import structlog

from autostack.proxy.cache import BoundedCache, SingleFlight
from autostack.proxy.messages import Request, Response, head
from autostack.proxy.respond import Plan, error, respond
from autostack.proxy.routes import RouteTable
from autostack.settings import MB, Settings
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.manifest import Manifest, ManifestInvalid
from autostack.sites.routes import Route, RouteInvalid
from autostack.sites.store import Store

log = structlog.get_logger(__name__)

ANSWER_TIMEOUT_S = 1.7
CHUNK_TIMEOUT_S = 15
# Larger blobs are streamed from the store, each time.
MAX_CACHED_BLOB_BYTES = 1_000_000
# A manifest takes about this many times its JSON's length in memory.
MANIFEST_OVERHEAD = 4
# Reading a larger manifest would hold up other visitors for more than a few milliseconds.
LARGE_MANIFEST_BYTES = 100_000
HEALTH_PATH = b"/.autostack/healthz"
PLATFORM_PATHS = b"/.autostack/"


class Handler:
    """Answers for all sites. For one event loop."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.routes = RouteTable(store, settings.route_ttl_ms / 1000)
        self._store = store
        self._suffix = f".{settings.sites_domain}"
        self._manifests: BoundedCache[str, Manifest] = BoundedCache(settings.proxy_cache_mb * MB // 4)
        self._blobs: BoundedCache[str, bytes] = BoundedCache(settings.proxy_cache_mb * MB * 3 // 4)
        self._manifest_reads: SingleFlight[str, Manifest] = SingleFlight()
        self._blob_reads: SingleFlight[str, bytes] = SingleFlight()

    def answer_now(self, request: Request) -> Response | None:
        """Return the response if it needs nothing but memory, else None."""
        if request.path.startswith(PLATFORM_PATHS):
            return _platform_answer(request)
        label = self._label(request.host)
        if label is None:
            return error(404, request.is_head)
        known = self.routes.fresh(label)
        if known is None:
            return None
        if known.route is None or known.route.removed:
            return error(404, request.is_head)
        manifest = self._manifests.get(known.route.deployment_id)
        if manifest is None:
            return None
        return self._finish_now(respond(request, manifest, _is_preview(known.route)))

    async def answer(self, request: Request) -> Response:
        """Return the response, 503 when the store is away or takes too long."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return self.answer_now(request) or await self._fetch_answer(request)
        except (StoreUnavailable, TimeoutError) as failure:
            log.warning("store away", host=request.host, error=str(failure) or "time-out")
        except (ObjectNotFound, ManifestInvalid, RouteInvalid) as failure:
            log.error("site damaged", host=request.host, error=failure.message)
        return error(503, request.is_head, extra=(("Retry-After", "1"),))

    async def _fetch_answer(self, request: Request) -> Response:
        label = self._label(request.host)
        route = await self.routes.find(label) if label else None
        if route is None or route.removed:
            return error(404, request.is_head)
        plan = respond(request, await self._manifest(route), _is_preview(route))
        return self._finish_now(plan) or await self._finish(route, plan)

    def _label(self, host: str) -> str | None:
        """Return the label under SITES_DOMAIN, None for any other host."""
        label = host.removesuffix(self._suffix)
        return label if label != host and "." not in label and keys.HOST.fullmatch(label) else None

    def _finish_now(self, plan: Plan | Response) -> Response | None:
        if isinstance(plan, Response):
            return plan
        data = self._blobs.get(plan.blob.sha256)
        return None if data is None else Response(plan.head, data[plan.part.start : plan.part.end])

    async def _finish(self, route: Route, plan: Plan | Response) -> Response:
        if isinstance(plan, Response):
            return plan
        key = keys.blob(route.project_id, plan.blob.sha256)
        if plan.blob.size > MAX_CACHED_BLOB_BYTES:
            stream = await self._store.open_async(key, plan.part.start, plan.part.end)
            return await _streamed(plan.head, stream.chunks)
        data = await self._blob_reads.run(key, lambda: self._read_blob(key, plan.blob.sha256))
        return Response(plan.head, data[plan.part.start : plan.part.end])

    async def _read_blob(self, key: str, sha256: str) -> bytes:
        data = await self._store.get_async(key)
        self._blobs.put(sha256, data, len(data))
        return data

    async def _manifest(self, route: Route) -> Manifest:
        kept = self._manifests.get(route.deployment_id)
        if kept is not None:
            return kept
        return await self._manifest_reads.run(route.deployment_id, lambda: self._read_manifest(route))

    async def _read_manifest(self, route: Route) -> Manifest:
        data = await self._store.get_async(keys.manifest(route.project_id, route.deployment_id))
        if len(data) > LARGE_MANIFEST_BYTES:
            manifest = await asyncio.to_thread(Manifest.from_json, data)
        else:
            manifest = Manifest.from_json(data)
        self._manifests.put(route.deployment_id, manifest, len(data) * MANIFEST_OVERHEAD)
        return manifest


def _is_preview(route: Route) -> bool:
    return route.kind != "production"


def _platform_answer(request: Request) -> Response:
    """Answer under /.autostack/, on any host."""
    if request.path != HEALTH_PATH:
        return error(404, request.is_head)
    body = b"ok\n"
    start = head(
        200, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    )
    return Response(start, b"" if request.is_head else body)


async def _streamed(start: bytes, chunks: AsyncGenerator[bytes, None]) -> Response:
    """Return a response once its first chunk is there: until then, an error can still be told as one."""
    first = await anext(chunks)
    return Response(start, first, _patiently(chunks))


async def _patiently(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(chunks):
        while True:
            # A stall in mid-body can only be answered by breaking off.
            try:
                async with asyncio.timeout(CHUNK_TIMEOUT_S):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise StoreUnavailable("The object store stalled in the middle of a file.") from None
            yield chunk
