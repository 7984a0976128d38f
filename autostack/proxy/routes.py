"""Which deployment a host shows, as this proxy knows it: the only thing here that can go stale.

A route is fresh for its time to live. An announcement (see `autostack.sites.announce`) ends that at once. Afterwards it
stays fresh for as long as this proxy can be sure that it would have heard of a newer one: Redis gave a sign of life on
the connection that brings announcements, and the store said that none was missed, both within a time to live. So of a
thousand sites that nobody changes, no visitor waits for a read. While this proxy is cut off from announcements, it asks
the store for every request. When the store does not answer, the last known route is served, be it one that an earlier
process saved: an old site is better than none.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass

import structlog

from autostack.proxy.cache import BoundedCache, SingleFlight
from autostack.proxy.metrics import METER
from autostack.proxy.saved import SavedRoutes
from autostack.proxy.turns import Turns
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.routes import Route, RouteInvalid
from autostack.sites.store import Store

log = structlog.get_logger(__name__)

MAX_HOSTS = 20_000
# While the store is away, one reads from it this often, and no visitor waits for it. Together they are shorter than the
# time for which a publisher waits whom no proxy gave its word.
PROBE_INTERVAL_S = 0.25
PROBE_TIMEOUT_S = 0.5
# Even if no newer one was announced, a route that is asked for is read again after this long: behind the visitors'
# backs, for all that is known says that it is fresh, and with so long a pause after each that they don't notice.
MAX_SURE_S = 60.0
REREAD_PAUSE_S = 0.005
# How many hosts of which nothing is known are looked up at once: anybody can make up as many names as he likes. Each
# network that asks for such has its turn, so that nobody waits for another's.
MAX_UNKNOWN_AT_ONCE = 32


@dataclass(slots=True)
class Known:
    """What the store said last about a host; `route` None: there is none. `fresh_until` on the monotonic clock.

    `is_sure`: it stays fresh while the proxy is sure to hear of a newer one; from `due_at` on, it is read again.
    `is_recalled`: it was said to an earlier process, which saved it.
    """

    route: Route | None
    fresh_until: float
    is_sure: bool = False
    due_at: float = math.inf
    is_recalled: bool = False

    def expire(self) -> None:
        self.fresh_until = 0
        self.is_sure = False


@dataclass(slots=True, eq=False)
class Site:
    """What a host shows by one route: as long as the table's `epoch` is this one, and until `fresh_until`."""

    route: Route
    epoch: int = -1
    fresh_until: float = 0

    @property
    def is_preview(self) -> bool:
        return self.route.is_preview


class RouteTable:
    """The routes of the hosts that were asked for lately. For one event loop."""

    def __init__(
        self, store: Store, ttl_s: float, saved: SavedRoutes | None = None, refresh_timeout_s: float = 1.0
    ) -> None:
        self._store = store
        self._saved = saved
        self._ttl_s = ttl_s
        self._refresh_timeout_s = refresh_timeout_s
        self._known: BoundedCache[str, Known] = BoundedCache(MAX_HOSTS)
        self._announced: BoundedCache[str, int] = BoundedCache(MAX_HOSTS)
        self._reads: SingleFlight[str, Route | None] = SingleFlight()
        self._unknown = Turns(MAX_UNKNOWN_AT_ONCE)
        self._hears_announcements = False
        self._probe: asyncio.Task[None] | None = None
        self._due: dict[str, None] = {}
        self._rereading: asyncio.Task[None] | None = None
        # When announcements were last known to arrive, and when the store was last asked whether one was missed.
        self._heard_at = self._looked_at = -math.inf
        self._missed: bytes | None = None
        self._expiries = 0
        # Grows whenever something that was fresh may have ceased to be.
        self.epoch = 0

    def announced(self, host: str, generation: int) -> None:
        """Take note that a host's route has reached this generation."""
        self.epoch += 1
        self._announced.put(host, max(generation, self._announced.get(host) or 0), 1)
        known = self._known.get(host)
        if known is not None and (known.route is None or known.route.generation < generation):
            known.expire()

    def hears_announcements(self, hears: bool) -> None:
        """Take note that announcements reach this proxy, from now on or no longer; some may have been missed."""
        self._hears_announcements = hears
        self._heard_at = -math.inf
        self._expire_all()

    def heard(self, asked_at: float) -> None:
        """Take note that whatever was announced until then, on the monotonic clock, has arrived."""
        self._heard_at = asked_at

    def looked(self, asked_at: float, missed: bytes) -> None:
        """Take note of what the store said then of announcements that not every proxy heard."""
        if missed != self._missed:
            self._missed = missed
            self._expire_all()
        self._looked_at = asked_at

    def _expire_all(self) -> None:
        self.epoch += 1
        self._expiries += 1
        for known in self._known.values():
            known.expire()

    def fresh(self, host: str) -> Known | None:
        """Return what is known, if nobody needs to be asked."""
        known = self._known.get(host)
        now = time.monotonic()
        if known is not None and now >= known.fresh_until and known.is_sure:
            known.fresh_until = min(self._heard_at, self._looked_at) + self._ttl_s
            if known.due_at <= now < known.fresh_until:
                self._reread(host)
        return known if known is not None and now < known.fresh_until else None

    def _reread(self, host: str) -> None:
        self._due[host] = None
        if self._rereading is None:
            self._rereading = asyncio.create_task(self._reread_all())

    async def _reread_all(self) -> None:
        try:
            while self._due:
                host = next(iter(self._due))
                try:
                    await self._read(host)
                except RouteInvalid as error:
                    log.error("route damaged", host=host, error=error.message)
                except (StoreUnavailable, TimeoutError):
                    # If that lasts, nobody is sure of anything any more, and the next visitor asks.
                    pass
                await asyncio.sleep(REREAD_PAUSE_S)
                del self._due[host]
        finally:
            self._rereading = None

    async def find(self, host: str, network: str = "") -> Route | None:
        """Return the route of a host, None if it has none. Raises StoreUnavailable when nothing is known of it.

        `network` is whose turn it is then, if there are many to be looked up.
        """
        known = self.fresh(host)
        if known is not None:
            return known.route
        known = self._known.get(host) or await self._recall(host)
        if known is None:
            return await self._read_unknown(host, network)
        if self._probe is not None and self._is_announced(host, known.route):
            return self._last_known(known)
        try:
            async with asyncio.timeout(self._refresh_timeout_s):
                return await self._read(host)
        except RouteInvalid as error:
            log.error("route damaged", host=host, error=error.message)
        except (StoreUnavailable, TimeoutError) as error:
            METER.store_errors += 1
            log.warning("route not refreshed", host=host, error=str(error) or "time-out")
            self._probe = self._probe or asyncio.create_task(self._wait_for_store(host))
        return self._last_known(known)

    def _last_known(self, known: Known) -> Route | None:
        known.fresh_until = time.monotonic() + PROBE_INTERVAL_S
        return known.route

    async def _wait_for_store(self, host: str) -> None:
        """Return once the store tells of a host again, whatever it tells."""
        with contextlib.suppress(RouteInvalid):
            while True:
                await asyncio.sleep(PROBE_INTERVAL_S)
                with contextlib.suppress(StoreUnavailable, TimeoutError):
                    async with asyncio.timeout(PROBE_TIMEOUT_S):
                        await self._load(host)
                    break
        log.info("store is back")
        self._probe = None
        self._expire_all()

    async def _recall(self, host: str) -> Known | None:
        route = await self._saved.get(host) if self._saved else None
        if route is not None and self._known.get(host) is None:
            self._known.put(host, Known(route, 0, is_recalled=True), 1)
        return self._known.get(host)

    async def _read(self, host: str) -> Route | None:
        return await self._reads.run(host, lambda: self._fetch(host))

    async def _read_unknown(self, host: str, network: str) -> Route | None:
        """Read in turn what may be a made-up name; one that was announced, or that somebody reads already, is not."""
        if host in self._reads or self._announced.get(host) is not None:
            return await self._read(host)
        await self._unknown.take(network)
        if (known := self.fresh(host)) is not None:
            # Somebody read it while this one waited for his turn.
            self._unknown.give_back()
            return known.route
        flight = self._reads.begin(host, lambda: self._fetch(host))
        # Not before its end: a store that stalls must not be asked more because visitors leave.
        flight.add_done_callback(lambda _: self._unknown.give_back())
        return await asyncio.shield(flight)

    async def _fetch(self, host: str) -> Route | None:
        # Decided before the store is asked: being cut off meanwhile must not make the answer last.
        ttl_s, expiries = self._ttl_s if self._hears_announcements else 0, self._expiries
        route = self._newest(host, await self._load(host))
        if not self._is_announced(host, route):
            # The announcement came while an answer from before it was on its way: its publisher counts on us.
            route = self._newest(host, await self._load(host))
        self._save(host, route)
        is_sure = ttl_s > 0 and expiries == self._expiries and self._is_announced(host, route)
        now = time.monotonic()
        self._known.put(host, Known(route, now + ttl_s, is_sure, now + MAX_SURE_S), 1)
        return route

    def _save(self, host: str, route: Route | None) -> None:
        known = self._known.get(host)
        if self._saved is not None and route != (known.route if known else None):
            self._saved.keep(host, route)

    async def _load(self, host: str) -> Route | None:
        try:
            return Route.from_json(await self._store.get_short_async(keys.route(host)))
        except ObjectNotFound:
            return None

    def _is_announced(self, host: str, route: Route | None) -> bool:
        return (route.generation if route else 0) >= (self._announced.get(host) or 0)

    def _newest(self, host: str, route: Route | None) -> Route | None:
        """Return what is known instead of a route that is older than it; a store that was set back must be believed."""
        known = self._known.get(host)
        if known is None or known.is_recalled:
            return route
        if route and known.route and route.generation < known.route.generation:
            return known.route
        return route
