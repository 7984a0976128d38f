"""From a request to its response: host → route → manifest → file → bytes.

What answers a path is decided once for all who accept the same, and remembered until the host shows something else: a
hit is two look-ups and one write. What is in memory is answered at once, in `answer_now`; everything else is fetched
first, in `answer`, within PROXY_ANSWER_TIMEOUT, so that a visitor never hangs on a store that stalls.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial

import structlog

from autostack.proxy import cdn
from autostack.proxy.attempts import Buckets
from autostack.proxy.blobs import Blobs
from autostack.proxy.cache import MAX_REMEMBERED_LENGTH, Recent
from autostack.proxy.certificates import Certificates
from autostack.proxy.disk import open_disk
from autostack.proxy.formers import Unread, open_formers
from autostack.proxy.gate import Gate, private
from autostack.proxy.hops import network_of
from autostack.proxy.limits import Limits
from autostack.proxy.manifests import Manifests
from autostack.proxy.messages import UNLOCK_PATH, Request, Response, Tally, added, head
from autostack.proxy.metrics import METER
from autostack.proxy.negotiation import Accepts, read_accepts
from autostack.proxy.own_headers import Extras
from autostack.proxy.resolve import BadPath, Lend, Remote, decode_path, resolve
from autostack.proxy.respond import PREVIEW_HEADERS, Plan, Prepared, error, moved, prepare, respond
from autostack.proxy.routes import MAX_HOSTS, RouteTable, Site
from autostack.proxy.saved import open_saved
from autostack.proxy.upstream import Upstream
from autostack.settings import MB, Settings
from autostack.sites import keys, tickets
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.manifest import Manifest, ManifestInvalid
from autostack.sites.media_types import is_asset
from autostack.sites.routes import Protection, Route, RouteInvalid
from autostack.sites.rules.match import TooMuchWork, Visit, merged
from autostack.sites.store import Store

log = structlog.get_logger(__name__)

# With a known route to fall back on, a visitor is kept waiting for a store that stalls for a part of that time only.
REFRESH_SHARE = 0.6
# Different pairs of Accept-Encoding and Accept; browsers send some dozens.
MAX_ACCEPTS = 8192
HEALTH_PATH = b"/.autostack/healthz"
ASK_PATH = b"/.autostack/ask"
ENTER_PATH = tickets.ENTER_PATH.encode()
# What is not answered from memory.
ASKED_FOR = frozenset((ASK_PATH, ENTER_PATH, UNLOCK_PATH))
PLATFORM_PATHS = b"/.autostack/"

monotonic = time.monotonic


@dataclass(slots=True)
class Elsewhere:
    """A rule of this route's site has the request answered by another server.

    `vary` names the headers of the request that rules looked at before.
    """

    url: str
    route: Route
    vary: tuple[str, ...]


class Handler:
    """Answers for all sites. For one event loop; `buckets` are those of all processes."""

    def __init__(self, store: Store, settings: Settings, buckets: Buckets) -> None:
        disk = open_disk(settings, store)
        self._timeout_s = settings.proxy_answer_timeout_ms / 1000
        saved = open_saved(settings, store)
        self.routes = RouteTable(store, settings.route_ttl_ms / 1000, saved, REFRESH_SHARE * self._timeout_s)
        self.limits = Limits(settings.throttle_kb * 1000 // settings.proxy_workers)
        self._store = store
        self._country_header = settings.country_header
        self._cdn_keeps_s = settings.cdn_keeps_s
        self._upstream = Upstream(settings)
        self._gate = Gate(settings, buckets)
        self._certificates = Certificates(settings, self.routes, self._name)
        self._suffix = f".{settings.sites_domain}"
        self._site_url = settings.site_url
        memory = settings.proxy_cache_mb * MB
        self._blobs = Blobs(store, memory * 5 // 8, disk)
        self._manifests = Manifests(store, memory * 3 // 16, disk)
        self._formers = open_formers(self._manifests, settings)
        self._sites: Recent[str, Site] = Recent(2 * MAX_HOSTS)
        # What a host shows, as far as it is remembered.
        self.site = self._sites.get
        self._accepts: Recent[tuple[bytes | None, bytes | None], Accepts] = Recent(MAX_ACCEPTS)
        self._prepared: Recent[tuple[Site, bytes, Accepts], Prepared] = Recent(memory // 8)

    def answer_now(self, request: Request) -> Response | None:
        """Return the response if it needs nothing but memory, else None."""
        site = self._sites.get(request.host)
        if site is None or site.epoch != self.routes.epoch or monotonic() >= site.fresh_until:
            return self._answer_anew(request)
        if self.limits.is_any and (status := self.limits.refusal(site.route.project_id)):
            return _refused(request, status, site.route)
        prepared = self._prepared.get((site, request.path, request.accepts or self._what_it_accepts(request)))
        return self._answer_anew(request) if prepared is None else self._finish_now(request, site, prepared)

    async def answer(self, request: Request) -> Response:
        """Return the response, 503 when the store is away or takes too long."""
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                answer = self.answer_now(request) or await self._fetch_answer(request, limit)
            response = answer if isinstance(answer, Response) else await self._ask_elsewhere(request, answer)
            if response.is_visit and response.route is not None and response.route.protection is not None:
                response.head = private(response.head)
            return response
        except (StoreUnavailable, TimeoutError) as failure:
            METER.store_errors += 1
            log.warning("store away", host=request.host, error=str(failure) or "time-out")
        except (ObjectNotFound, ManifestInvalid, RouteInvalid) as failure:
            log.error("site damaged", host=request.host, error=failure.message)
        known = self._sites.get(request.host)
        route = known.route if known else None
        response = error(503, request.is_head, route is not None and route.is_preview, (("Retry-After", "1"),))
        response.route = route
        return response

    def _answer_anew(self, request: Request) -> Response | None:
        """Return the response of what is in memory, though not at hand."""
        if request.path.startswith(PLATFORM_PATHS):
            return None if request.path in ASKED_FOR else _platform_answer(request)
        name = self._name(request.host)
        if name is None:
            return error(404, request.is_head)
        known = self.routes.fresh(name)
        if known is None:
            return None
        if known.route is None or known.route.removed:
            return error(404, request.is_head)
        if known.route.redirect_to is not None:
            return _before_a_visit(moved(self._site_url(known.route.redirect_to), request), known.route)
        if known.route.protection is not None:
            # It may take hashing, and is never at hand: nobody gets in by what was remembered of somebody else.
            return None
        site = self._site(request.host, known.route)
        site.epoch, site.fresh_until = self.routes.epoch, known.fresh_until
        manifest = self._manifests.get_now(known.route.deployment_id)
        if manifest is None:
            return None
        if self.limits.is_any and (status := self.limits.refusal(site.route.project_id)):
            return _refused(request, status, site.route)
        try:
            prepared = self._prepare(request, site, manifest)
        except (Unread, ManifestInvalid):
            # What is wrong with it is said where it is waited for.
            return None
        if isinstance(prepared, Elsewhere):
            return None
        if isinstance(prepared, Prepared):
            return self._finish_now(request, site, prepared)
        prepared.route = site.route
        return prepared

    async def _fetch_answer(self, request: Request, limit: asyncio.Timeout) -> Response | Elsewhere:
        if request.path == ASK_PATH:
            return await self._certificates.answer(request)
        name = self._name(request.host)
        route = await self.routes.find(name, network_of(request.client)) if name else None
        if route is None or route.removed:
            return error(404, request.is_head)
        if route.redirect_to is not None:
            return _before_a_visit(moved(self._site_url(route.redirect_to), request), route)
        if status := self.limits.refusal(route.project_id):
            return _refused(request, status, route)
        if route.protection is not None:
            if (stopped := await self._at_the_gate(request, route, route.protection, limit)) is not None:
                return _before_a_visit(stopped, route)
        elif request.path.startswith(PLATFORM_PATHS):
            return error(404, request.is_head)
        prepared = await self._prepare_cold(request, self._site(request.host, route))
        if isinstance(prepared, Elsewhere):
            return prepared
        answer = prepared if isinstance(prepared, Response) else respond(request, prepared)
        if isinstance(answer, Plan):
            answer = self._blobs.respond_now(answer) or await self._blobs.respond(route.project_id, answer)
        answer.route = route
        return answer

    async def _at_the_gate(
        self, request: Request, route: Route, protection: Protection, limit: asyncio.Timeout
    ) -> Response | None:
        """Return what a visitor gets before, or instead of, what the site has for him; None where nothing is."""
        # Hashing takes its time on purpose, and more of it on a busy machine: that is no stall of the store's.
        limit.reschedule(None)
        if request.path == UNLOCK_PATH:
            return await self._gate.unlock(request, route, protection)
        if request.path == ENTER_PATH:
            return await self._gate.enter(request, protection)
        refusal = await self._gate.refusal(request, route, protection)
        limit.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
        return refusal

    def _finish_now(self, request: Request, site: Site, prepared: Prepared) -> Response | None:
        headers = request.headers
        is_plain = b"if-none-match" not in headers and b"range" not in headers and b"if-match" not in headers
        if is_plain and prepared.blob is not None and not request.is_head:
            data = self._blobs.get(prepared.blob.sha256)
            if data is not None:
                return Response(prepared.head, data, None, site.route, tally=prepared.tally)
            # All that it takes to wait for the store is done while that works already.
            self._blobs.fetch_ahead(site.route.project_id, prepared.blob)
            return None
        is_known = prepared.etag and headers.get(b"if-none-match") == prepared.etag
        if is_known and b"range" not in headers and b"if-match" not in headers:
            start, tally = prepared.unchanged
            return Response(start, route=site.route, tally=tally)
        answer = respond(request, prepared)
        response = answer if isinstance(answer, Response) else self._blobs.respond_now(answer)
        if response is not None:
            response.route = site.route
        return response

    async def _ask_elsewhere(self, request: Request, elsewhere: Elsewhere) -> Response:
        route = elsewhere.route
        is_protected = route.protection is not None
        response = await self._upstream.answer(
            request, elsewhere.url, route.project_id, vary=elsewhere.vary, is_protected=is_protected
        )
        if route.is_preview:
            response.head = added(response.head, PREVIEW_HEADERS)
        response.route = route
        return response

    async def _prepare_cold(self, request: Request, site: Site) -> Prepared | Response | Elsewhere:
        """Return what answers the path, reading the manifests that tell."""
        route = site.route
        manifest = await self._manifests.get(route.project_id, route.deployment_id)
        try:
            return self._prepare(request, site, manifest)
        except Unread:
            lent = await self._formers.find(route, decode_path(request.path))
            return self._prepare(request, site, manifest, lambda _: lent.file if lent else None)

    def _prepare(
        self, request: Request, site: Site, manifest: Manifest, lend: Lend | None = None
    ) -> Prepared | Response | Elsewhere:
        """Return what answers the path, and remember it if it answers others, too. Raises Unread.

        `lend` finds what is missing in former deployments, by default in those that were read already.
        """
        accepts = self._what_it_accepts(request)
        key = (site, request.path, accepts)
        if kept := self._prepared.get(key):
            return kept
        try:
            path = decode_path(request.path)
        except BadPath:
            return error(400, request.is_head, site.is_preview)
        lend = lend or partial(self._formers.find_now, site.route)
        visit = Visit(
            path,
            request.host,
            request.query,
            request.headers,
            self._country_header,
            is_country_told=request.peer.is_trusted,
        )
        try:
            decision = resolve(manifest, visit, accepts.html, lend)
            # The rules are asked first: what they looked at keeps a CDN from keeping the answer.
            own = {} if isinstance(decision, Remote) else merged(manifest.matcher.blocks(visit))
        except TooMuchWork:
            log.warning("rules take too long", host=request.host)
            return error(500, request.is_head, site.is_preview)
        if isinstance(decision, Remote):
            return Elsewhere(decision.url, site.route, visit.headers_looked_at)
        cdn_s = cdn.seconds(site.route, visit, request.path, decision, self._cdn_keeps_s)
        extras = Extras(own, visit.headers_looked_at, cdn_s)
        prepared = prepare(decision, accepts, site.is_preview, extras)
        # Where rules looked at more than the path, the next request's answer may be another.
        if not visit.looked_at and len(request.path) <= MAX_REMEMBERED_LENGTH:
            status, is_page = prepared.head[9:12], not is_asset(path)
            prepared.tally = Tally(site.route.project_id, site.is_preview, request.path, is_page, status)
            self._prepared.put(key, prepared, prepared.size)
        return prepared

    def _what_it_accepts(self, request: Request) -> Accepts:
        headers = request.headers
        key = headers.get(b"accept-encoding"), headers.get(b"accept")
        request.accepts = accepts = self._accepts.get(key)
        if accepts is None:
            request.accepts = accepts = read_accepts(*key)
            if sum(len(header or b"") for header in key) <= MAX_REMEMBERED_LENGTH:
                self._accepts.put(key, accepts)
        return accepts

    def _name(self, host: str) -> str | None:
        """Return what a host's route is called: its label under SITES_DOMAIN, or the whole of another domain.

        None for what cannot have one.
        """
        name = host.removesuffix(self._suffix)
        # Nothing is deeper under SITES_DOMAIN than one label, and nothing else that is a domain has no dot.
        return name if ("." in name) == (name == host) and keys.HOST.fullmatch(name) else None

    def _site(self, host: str, route: Route) -> Site:
        site = self._sites.get(host)
        if site is None or site.route != route:
            site = Site(route)
            self._sites.put(host, site)
        return site


def _before_a_visit(response: Response, route: Route) -> Response:
    """Have an answer count as the site's, with nobody as its visitor."""
    response.route, response.is_visit = route, False
    return response


def _refused(request: Request, status: int, route: Route) -> Response:
    """Say that a site has used up its traffic: nobody's count grows by it."""
    return error(status, request.is_head, route.is_preview, (("Retry-After", "1"),) if status == 429 else ())


def _platform_answer(request: Request) -> Response:
    """Answer under /.autostack/, on any host."""
    if request.path != HEALTH_PATH:
        return error(404, request.is_head)
    body = b"ok\n"
    start = head(
        200, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    )
    return Response(start, b"" if request.is_head else body)
