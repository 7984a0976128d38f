"""The gate before sites with a password: who has shown that he knows it has a signed cookie, good for that host only.

A program sends the password each time (HTTP Basic, with any name). An owner comes with a ticket from the dashboard,
the only thing for which Redis is asked. Hashing takes long on purpose: it is done beside the event loop, and how often
is limited for each visitor of a site and for all of them; those who were let in before have limits of their own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import parse_qs, quote

import bcrypt
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from autostack.proxy import gate_pages
from autostack.proxy.attempts import Attempts, Buckets
from autostack.proxy.cache import BoundedCache
from autostack.proxy.gate_cookies import Cookies
from autostack.proxy.hops import network_of
from autostack.proxy.messages import Request, Response, head
from autostack.proxy.respond import ABOUT_KEEPING, BASE_HEADERS, NO_STORE
from autostack.settings import Settings
from autostack.sites import tickets
from autostack.sites.routes import Protection, Route

log = structlog.get_logger(__name__)

# bcrypt looks at no more.
MAX_PASSWORD_BYTES = 72
MAX_FIELDS = 8
HASHING_THREADS = 2
# Of one site, and of all: more at once would not be done in the time that a visitor gets for an answer.
SITES_MAX_HASHING = 8
MAX_HASHING = 256
# Attempts at once, and then so many a second: of one visitor at one site, and of all visitors of it.
VISITORS_ATTEMPTS = (5, 0.2)
SITES_ATTEMPTS = (30, 1.0)
# Of one visitor with tickets, which cost no hashing.
TICKETS_ATTEMPTS = (20, 1.0)
MAX_REMEMBERED = 10_000
REDIS_TIMEOUT_S = 1.0
# For tickets, of all sites together: one is asked for in a moment.
REDIS_CONNECTIONS = 4
# What would let others keep or frame what only those may see who know the password.
NEVER_THE_OWNERS = frozenset((b"x-frame-options", *(name.encode() for name in ABOUT_KEEPING)))
PRIVATE = (
    b"Cache-Control: private, no-store",
    b"X-Frame-Options: SAMEORIGIN",
    # Beside the owner's own policy, if there is one: browsers obey both.
    b"Content-Security-Policy: frame-ancestors 'self'",
)


class Outcome(Enum):
    """What came of an attempt."""

    RIGHT = auto()
    WRONG = auto()
    TOO_OFTEN = auto()


@dataclass(slots=True, eq=False)
class _Turns:
    """One site's attempts that wait for hashing, or have it. Only the first of them queues with other sites'."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    count: int = 0


class Gate:
    """Lets visitors into protected sites. For one event loop; `buckets` are those of all processes."""

    def __init__(self, settings: Settings, buckets: Buckets) -> None:
        self._app_url = settings.app_url.rstrip("/")
        self._cookies = Cookies(settings)
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                settings.redis_url.get_secret_value(),
                max_connections=REDIS_CONNECTIONS,
                timeout=REDIS_TIMEOUT_S,
                socket_timeout=REDIS_TIMEOUT_S,
                socket_connect_timeout=REDIS_TIMEOUT_S,
            )
        )
        self._hashing = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="hashing")
        self._threads = asyncio.Semaphore(HASHING_THREADS)
        self._hashing_count = 0
        self._turns: dict[str, _Turns] = {}
        self._known: BoundedCache[bytes, bool] = BoundedCache(MAX_REMEMBERED)
        self._known_key = secrets.token_bytes(32)
        self._by_visitor = Attempts("visitor", *VISITORS_ATTEMPTS, buckets)
        self._by_site = Attempts("site", *SITES_ATTEMPTS, buckets)
        self._with_tickets = Attempts("tickets", *TICKETS_ATTEMPTS, buckets)

    async def refusal(self, request: Request, route: Route, protection: Protection) -> Response | None:
        """Return what a visitor gets who may not come in, None for one who may."""
        if self._cookies.admits(request, protection):
            return None
        password = _basic_password(request.headers.get(b"authorization", b""))
        if password is None:
            return self._ask(request, _path_of(request))
        outcome = await self._try(request, route, protection, password)
        return None if outcome is Outcome.RIGHT else self._ask(request, _path_of(request), outcome)

    async def unlock(self, request: Request, route: Route, protection: Protection) -> Response:
        """Return the answer to the form: a cookie and the way on, or the form again."""
        fields = _fields(request.body)
        path = tickets.safe_path(fields.get("next", "/"))
        if request.method != b"POST":
            return _lead_to(path)
        outcome = await self._try(request, route, protection, fields.get("password", "").encode())
        if outcome is Outcome.RIGHT:
            return _lead_to(path, self._cookies.new(request, protection))
        return self._ask(request, path, outcome)

    async def enter(self, request: Request, protection: Protection) -> Response:
        """Return the answer to an owner with a ticket: a cookie and the way on. A ticket that is no good gets none."""
        fields = _fields(request.query)
        path = tickets.safe_path(fields.get("next", "/"))
        is_good = await self._redeem(request, fields.get("ticket", ""), protection)
        return _lead_to(path, self._cookies.new(request, protection) if is_good else ())

    async def _redeem(self, request: Request, ticket: str, protection: Protection) -> bool:
        if not self._with_tickets.take(network_of(request.client), time.monotonic()):
            return False
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_S):
                return await tickets.redeem(self._redis, ticket, request.host, protection.key_id)
        except (RedisError, OSError) as error:
            log.warning("ticket not redeemed", error=str(error) or "time-out")
            return False

    async def _try(self, request: Request, route: Route, protection: Protection, password: bytes) -> Outcome:
        if not password or len(password) > MAX_PASSWORD_BYTES or b"\0" in password:
            return Outcome.WRONG
        # For whoever it was right only: others' guesses count, or the limits would end with the first who knows it.
        known = hmac.digest(
            self._known_key,
            b"\n".join((protection.password_hash.encode(), network_of(request.client).encode(), password)),
            "sha256",
        )
        if self._known.get(known):
            return Outcome.RIGHT
        if not self._may_try(request, route):
            return Outcome.TOO_OFTEN
        # A visitor who leaves ends no hashing that is under way.
        is_right = await asyncio.shield(asyncio.create_task(self._hash(route.project_id, password, protection)))
        if is_right:
            # A program sends it with each request.
            self._known.put(known, True, 1)
        return Outcome.RIGHT if is_right else Outcome.WRONG

    def _may_try(self, request: Request, route: Route) -> bool:
        """Count an attempt: of a known visitor for himself and all that are known, else for the address and the site.

        So strangers, from however many addresses, use up nothing of what those have who were let in before.
        """
        now, site = time.monotonic(), route.project_id
        visitor = self._cookies.visitor(request)
        if visitor is None:
            who, those, most = network_of(request.client), f"{site} strangers", SITES_MAX_HASHING
        else:
            who, those, most = visitor, f"{site} known", 2 * SITES_MAX_HASHING
        turns = self._turns.get(site)
        return (
            self._hashing_count < MAX_HASHING
            and (turns is None or turns.count < most)
            and self._by_visitor.take(f"{site} {who}", now)
            and self._by_site.take(those, now)
        )

    async def _hash(self, site: str, password: bytes, protection: Protection) -> bool:
        """Tell whether a password is right, in turns: a site under attack does not keep other sites' visitors out."""
        hashed, loop = protection.password_hash.encode(), asyncio.get_running_loop()
        turns = self._turns.setdefault(site, _Turns())
        turns.count += 1
        self._hashing_count += 1
        try:
            async with turns.lock, self._threads:
                return await loop.run_in_executor(self._hashing, bcrypt.checkpw, password, hashed)
        finally:
            self._hashing_count -= 1
            turns.count -= 1
            if turns.count == 0:
                del self._turns[site]

    def _ask(self, request: Request, path: str, outcome: Outcome | None = None) -> Response:
        owners_way = f"{self._app_url}/visit?host={quote(request.host)}&next={quote(path, safe='')}"
        body = gate_pages.password_page(path, owners_way, PROBLEMS[outcome] if outcome else None)
        status = 429 if outcome is Outcome.TOO_OFTEN else 401
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", NO_STORE),
            ("Content-Security-Policy", gate_pages.CONTENT_SECURITY_POLICY),
            ("X-Robots-Tag", "noindex"),
            *BASE_HEADERS,
            ("Retry-After", "5") if status == 429 else ("WWW-Authenticate", _challenge(request)),
        ]
        return Response(head(status, headers), b"" if request.is_head else body)


PROBLEMS = {
    Outcome.WRONG: "That is not the password.",
    Outcome.TOO_OFTEN: "Too many attempts. Wait a moment, then try again.",
}


def private(start: bytes) -> bytes:
    """Return the head of an answer with what keeps it from caches and from others' frames, whatever its owner set."""
    lines = [
        line for line in start.split(b"\r\n")[:-1] if line.partition(b":")[0].strip().lower() not in NEVER_THE_OWNERS
    ]
    return b"\r\n".join((*lines, *PRIVATE, b""))


def _basic_password(authorization: bytes) -> bytes | None:
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _challenge(request: Request) -> str:
    # A browser that hears of Basic shows a window of its own over our form, and for a picture's sake, too.
    is_browsers = b"sec-fetch-mode" in request.headers or b"text/html" in request.headers.get(b"accept", b"")
    return 'Form realm="site"' if is_browsers else 'Basic realm="site", charset="UTF-8"'


def _path_of(request: Request) -> str:
    sent = request.path + (b"?" + request.query if request.query else b"")
    return tickets.safe_path(sent.decode("latin-1"))


def _fields(form: bytes) -> dict[str, str]:
    try:
        parsed = parse_qs(form.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        return {}
    return {name: values[0] for name, values in parsed.items()}


def _lead_to(path: str, cookies: Iterable[str] = ()) -> Response:
    headers = [("Location", path), ("Content-Length", "0"), ("Cache-Control", NO_STORE), *BASE_HEADERS]
    return Response(head(303, [*headers, *(("Set-Cookie", cookie) for cookie in cookies)]))
