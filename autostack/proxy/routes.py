"""Which deployment a host shows, as this proxy knows it: the only thing here that can go stale.

A route is fresh for its time to live. An announcement (see `autostack.sites.announce`) ends that at once. While this
proxy is cut off from announcements, it asks the store for every request. When the store does not answer, the last
known route is served: an old site is better than none.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog

from autostack.proxy.cache import BoundedCache, SingleFlight
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.routes import Route, RouteInvalid
from autostack.sites.store import Store

log = structlog.get_logger(__name__)

MAX_HOSTS = 20_000
# With a known route to fall back on, a visitor is not kept waiting for a store that stalls.
REFRESH_TIMEOUT_S = 1.0
# After a failure the store is left alone for this long.
RETRY_AFTER_S = 1.0


@dataclass(slots=True)
class Known:
    """What the store said last about a host; `route` None: there is none. `fresh_until` on the monotonic clock."""

    route: Route | None
    fresh_until: float


class RouteTable:
    """The routes of the hosts that were asked for lately. For one event loop."""

    def __init__(self, store: Store, ttl_s: float) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._known: BoundedCache[str, Known] = BoundedCache(MAX_HOSTS)
        self._announced: BoundedCache[str, int] = BoundedCache(MAX_HOSTS)
        self._reads: SingleFlight[str, Route | None] = SingleFlight()
        self._hears_announcements = False

    def announced(self, host: str, generation: int) -> None:
        """Take note that a host's route has reached this generation."""
        self._announced.put(host, max(generation, self._announced.get(host) or 0), 1)
        known = self._known.get(host)
        if known is not None and (known.route is None or known.route.generation < generation):
            known.fresh_until = 0

    def hears_announcements(self, hears: bool) -> None:
        """Take note that announcements reach this proxy, from now on or no longer; some may have been missed."""
        self._hears_announcements = hears
        for known in self._known.values():
            known.fresh_until = 0

    def fresh(self, host: str) -> Known | None:
        """Return what is known, if nobody needs to be asked."""
        known = self._known.get(host)
        return known if known is not None and time.monotonic() < known.fresh_until else None

    async def find(self, host: str) -> Route | None:
        """Return the route of a host, None if it has none. Raises StoreUnavailable when nothing is known of it."""
        known = self.fresh(host)
        if known is not None:
            return known.route
        known = self._known.get(host)
        if known is None:
            return await self._read(host)
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S):
                return await self._read(host)
        except (StoreUnavailable, RouteInvalid, TimeoutError) as error:
            log.warning("route not refreshed", host=host, error=str(error) or "time-out")
            known.fresh_until = time.monotonic() + RETRY_AFTER_S
            return known.route

    async def _read(self, host: str) -> Route | None:
        return await self._reads.run(host, lambda: self._fetch(host))

    async def _fetch(self, host: str) -> Route | None:
        # Decided before the store is asked: being cut off meanwhile must not make the answer last.
        ttl_s = self._ttl_s if self._hears_announcements else 0
        route = self._newest(host, await self._load(host))
        if not self._is_announced(host, route):
            # The announcement came while an answer from before it was on its way: its publisher counts on us.
            route = self._newest(host, await self._load(host))
        self._known.put(host, Known(route, time.monotonic() + ttl_s), 1)
        return route

    async def _load(self, host: str) -> Route | None:
        try:
            return Route.from_json(await self._store.get_async(keys.route(host)))
        except ObjectNotFound:
            return None

    def _is_announced(self, host: str, route: Route | None) -> bool:
        return (route.generation if route else 0) >= (self._announced.get(host) or 0)

    def _newest(self, host: str, route: Route | None) -> Route | None:
        """Return what is known instead of a route that is older than it."""
        known = self._known.get(host)
        if route and known and known.route and route.generation < known.route.generation:
            return known.route
        return route
