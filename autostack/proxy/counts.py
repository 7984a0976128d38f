"""What visitors asked for: noted with each answer, summed up later, without cookies and in bounded memory.

A hit pays for two sums and a look into a set. Names and visitors are looked at when many were noted, or when a batch
goes out: what was asked for a thousand times is looked at once.
"""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from autostack.proxy.cache import remembered
from autostack.proxy.hops import Peer
from autostack.proxy.messages import Request, Tally
from autostack.proxy.resolve import BadPath, decode_path
from autostack.proxy.top import Top
from autostack.sites.media_types import is_asset
from autostack.sites.routes import Route
from autostack.sites.traffic import MAX_NAME_CHARACTERS, MAX_NAMES, Batch, Kind, SiteTraffic
from autostack.sites.visitors import Visitors

SALT_BYTES = 32
# Different answers, and different visitors, that are noted before they are summed up.
MAX_NOTED = 4_096
# Of a path or a header: what browsers send is shorter.
MAX_NOTED_BYTES = 512
# What is more goes as several batches: far from what a batch may have, and a gatherer reads many at once.
BATCH_BYTES = 1_000_000

# Project, whether it is a preview, path, status, bytes.
_Answer = tuple[str, bool, bytes, bytes, int]
# Project, the connection's address, X-Forwarded-For, User-Agent. Who that is, is found out later.
_Visitor = tuple[str, str, bytes, bytes]
# Project, host, Referer.
_Referrer = tuple[str, str, bytes]
# What is noted of a request beside its answer: project, X-Forwarded-For, User-Agent, and for a page what led there.
Told = tuple[str, bytes, bytes, _Referrer | None]


class _Site:
    """One project's production or previews, since the last batch."""

    def __init__(self, project_id: str, is_preview: bool) -> None:
        self.traffic = SiteTraffic(project_id, is_preview)
        self.visitors = Visitors()
        self._top: defaultdict[Kind, Top] = defaultdict(lambda: Top(MAX_NAMES))

    def count(self, path: bytes, status: bytes, times: int, sent_bytes: int) -> None:
        """Count answers of one path and status."""
        self.traffic.requests += times
        self.traffic.sent_bytes += sent_bytes
        digit = status[0] - ord("0")
        self.traffic.statuses[digit] = self.traffic.statuses.get(digit, 0) + times
        named = None if self.traffic.is_preview else _kind_and_name(path, status)
        if named is not None:
            self._top[named[0]].add(named[1], times)

    def count_referrer(self, header: bytes, host: str, times: int) -> None:
        """Count requests to `host` that came from a page elsewhere."""
        name = referring_host(header)
        if name is not None and name != host:
            self._top[Kind.REFERRER].add(name, times)

    def summed_up(self) -> SiteTraffic:
        self.traffic.top = {kind: certain for kind, top in self._top.items() if (certain := top.certain())}
        self.traffic.visitors = self.visitors.to_bytes()
        return self.traffic


class Counts:
    """Counts for all sites. For one event loop. `salt` changes with the day; see `autostack.sites.visitors`."""

    def __init__(self, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self.salt = os.urandom(SALT_BYTES)
        self._now = now
        self._began = now()
        self._tallies: list[Tally] = []
        self._answers: dict[_Answer, int] = {}
        self._visitors: dict[_Visitor, Peer] = {}
        self._referrers: dict[_Referrer, int] = {}
        self._sites: dict[tuple[str, bool], _Site] = {}
        # Bytes that were counted, and of which the visitor then did not take so many.
        self._untaken: dict[tuple[str, bool], int] = {}

    def hit(self, tally: Tally, request: Request, size: int) -> None:
        """Note an answer of `size` bytes, its head included, that was given as it was prepared."""
        self.hit_again(tally, told(tally, request), request.peer, size)

    def hit_again(self, tally: Tally, told: Told | None, peer: Peer, size: int) -> None:
        """Note the same of a request of which is known already what it tells."""
        if tally.times == 0:
            self._tallies.append(tally)
        tally.times += 1
        tally.sent_bytes += size
        if told is not None:
            self._note_visitor(told, peer)
        if len(self._tallies) >= MAX_NOTED:
            self._sum_up()

    def note(self, route: Route, request: Request, status: bytes, size: int, *, is_visit: bool = True) -> None:
        """Note any other answer, with its status of three digits; what is no visit has no visitor."""
        is_preview = route.is_preview
        answer = (route.project_id, is_preview, request.path[:MAX_NOTED_BYTES], status, size)
        self._answers[answer] = self._answers.get(answer, 0) + 1
        if is_visit and not is_preview:
            is_page = not is_asset(request.path.decode("latin-1"))
            self._note_visitor(_told(route.project_id, request, is_page), request.peer)
        if len(self._answers) >= MAX_NOTED:
            self._sum_up()

    def note_more(self, route: Route, size: int) -> None:
        """Count so many bytes more, of an answer that was noted as it began."""
        self._site(route.project_id, route.is_preview).traffic.sent_bytes += size

    def take_back(self, route: Route, size: int) -> None:
        """Count so many bytes less, of answers that were noted before."""
        key = (route.project_id, route.is_preview)
        self._untaken[key] = self._untaken.get(key, 0) + size

    def take(self) -> list[Batch]:
        """Return what was counted since the last time, and begin anew."""
        self._sum_up()
        self._subtract_untaken()
        sites = [site.summed_up() for site in self._sites.values()]
        began, self._began = self._began, self._now()
        self._sites = {}
        return [Batch(str(uuid.uuid4()), began, part) for part in _parts(sites)]

    def _note_visitor(self, told: Told, peer: Peer) -> None:
        project_id, via, user_agent, referrer = told
        self._visitors[project_id, peer.address, via, user_agent] = peer
        if referrer is not None:
            self._referrers[referrer] = self._referrers.get(referrer, 0) + 1
        if len(self._visitors) >= MAX_NOTED or len(self._referrers) >= MAX_NOTED:
            self._sum_up()

    def _sum_up(self) -> None:
        for tally in self._tallies:
            site = self._site(tally.project_id, tally.is_preview)
            site.count(tally.path, tally.status, tally.times, tally.sent_bytes)
            tally.times = tally.sent_bytes = 0
        for (project_id, is_preview, path, status, size), times in self._answers.items():
            self._site(project_id, is_preview).count(path, status, times, times * size)
        for (project_id, host, header), times in self._referrers.items():
            self._site(project_id, False).count_referrer(header, host, times)
        for (project_id, _, via, user_agent), peer in self._visitors.items():
            address = peer.client({b"x-forwarded-for": via})
            self._site(project_id, False).visitors.add(self.salt, address, user_agent)
        self._tallies = []
        self._answers.clear()
        self._referrers.clear()
        self._visitors.clear()

    def _subtract_untaken(self) -> None:
        """Subtract what was not taken; what was counted in an earlier batch waits for the site's next one."""
        for key, site in self._sites.items():
            untaken = self._untaken.pop(key, 0)
            left = site.traffic.sent_bytes - untaken
            site.traffic.sent_bytes = max(left, 0)
            if left < 0:
                self._untaken[key] = -left

    def _site(self, project_id: str, is_preview: bool) -> _Site:
        key = (project_id, is_preview)
        site = self._sites.get(key)
        if site is None:
            site = self._sites[key] = _Site(project_id, is_preview)
        return site


def told(tally: Tally, request: Request) -> Told | None:
    """Return what is noted of a request beside its answer, None for a preview's."""
    return None if tally.is_preview else _told(tally.project_id, request, tally.is_page)


def _told(project_id: str, request: Request, is_page: bool) -> Told:
    headers = request.headers
    via = headers.get(b"x-forwarded-for", b"")[-MAX_NOTED_BYTES:]
    user_agent = headers.get(b"user-agent", b"")[:MAX_NOTED_BYTES]
    # The parts of a page are asked for by the page.
    is_led = is_page and b"referer" in headers
    return (
        project_id,
        via,
        user_agent,
        (project_id, request.host, headers[b"referer"][:MAX_NOTED_BYTES]) if is_led else None,
    )


@remembered(4096)
def referring_host(header: bytes) -> str | None:
    """Return the host of the page that a Referer names, None for what is no page of the web."""
    try:
        parts = urlsplit(header.decode())
    except ValueError:
        return None
    name = parts.hostname or ""
    is_host = 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable() and " " not in name
    return name if parts.scheme in ("http", "https") and is_host else None


def _kind_and_name(path: bytes, status: bytes) -> tuple[Kind, str] | None:
    """Return the list in which a path counts, and by which name; None for what was neither found nor missing."""
    found = status in (b"200", b"206", b"304")
    if not found and status != b"404":
        return None
    try:
        name = decode_path(path)
    except BadPath:
        return None
    kind = Kind.MISSING if not found else Kind.FILE if is_asset(name) else Kind.PAGE
    return kind, name[:MAX_NAME_CHARACTERS]


def _parts(sites: list[SiteTraffic]) -> Iterator[list[SiteTraffic]]:
    part: list[SiteTraffic] = []
    size = 0
    for site in sites:
        more = site.encoded_bytes()
        if part and size + more > BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(site)
        size += more
    if part:
        yield part
