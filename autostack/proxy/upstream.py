"""Answers of other servers, for rules with the status 200 whose target is an address: to be passed on as they come.

Only the public internet is reached, and what REWRITE_HOSTS_ALLOWED names: a name is looked up once, each of its
addresses is checked, and it is one of those that is connected to (`pools.py`). An answer has a limit on its size and
its time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import httpcore2
import structlog

from autostack.proxy import gate_cookies
from autostack.proxy.messages import Request, Response, head
from autostack.proxy.own_headers import joined_vary
from autostack.proxy.pools import Pool, Pools
from autostack.proxy.respond import error
from autostack.settings import Settings
from autostack.sites.errors import StoreUnavailable
from autostack.sites.rules.targets import with_query

log = structlog.get_logger(__name__)

HEAD_TIMEOUT_S = 26
CONNECT_TIMEOUT_S = 5
BODY_TIMEOUT_S = 120
CHUNK_TIMEOUT_S = 15
MAX_BODY_BYTES = 100_000_000
# Others mean nothing (RFC 9110, 15), or are for this connection only.
STATUSES = range(200, 600)
VIA = b"1.1 autostack"
# How httpcore calls the moment in which it opens a connection, rather than use one that it kept.
CONNECTS = "connection.connect_tcp.started"
# What is between two neighbours (RFC 9110, 7.6.1), or decided by us.
_OF_A_HOP = b"""
connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding upgrade
"""
OF_A_HOP = frozenset(_OF_A_HOP.split())
NOT_ASKED = OF_A_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"via",
    b"forwarded",
    # What a visitor could only make up of himself, and of what he asks for.
    b"x-real-ip",
    b"x-client-ip",
    b"true-client-ip",
    b"cf-connecting-ip",
    b"x-original-url",
    b"x-rewrite-url",
}
NOT_ASKED_PREFIX = b"x-forwarded-"
NOT_PASSED_ON = OF_A_HOP | {b"date", b"alt-svc", b"strict-transport-security", b"content-length", b"vary"}
COOKIE_DOMAIN = re.compile(rb";\s*domain\s*=[^;]*", re.IGNORECASE)


class UpstreamFailed(StoreUnavailable):
    """Another server's answer broke off, or went past a limit."""

    code = "UPSTREAM_FAILED"


class Upstream:
    """Asks other servers. For one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._pools = Pools(settings)
        self._country_header = (settings.country_header or "").lower().encode()

    async def answer(
        self, request: Request, url: str, site: str, *, vary: tuple[str, ...] = (), is_protected: bool = False
    ) -> Response:
        """Return what a server answers to the same request for `url`; 502, 503, 504 or 508 where it does not.

        `vary` names the headers of the request on which it depended that this server is asked.
        """
        if VIA in request.headers.get(b"via", b""):
            return error(508, request.is_head)
        pool = self._pools.enter(site)
        if pool is None:
            return error(503, request.is_head, extra=(("Retry-After", "1"),))
        stack = AsyncExitStack()
        stack.callback(self._pools.leave, site)
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                headers = headers_for(request, url, is_protected, self._country_header)
                answer = await _ask(pool, request, with_query(url, request.query), headers)
                stack.push_async_callback(answer.aclose)
                return await _begin(request, answer, vary, stack)
        except (httpcore2.TimeoutException, TimeoutError):
            return error(504, request.is_head)
        except (httpcore2.NetworkError, httpcore2.ProtocolError, UpstreamFailed) as failure:
            log.info("no answer from another server", host=request.host, error=str(failure))
            return error(502, request.is_head)
        finally:
            await stack.aclose()


async def _ask(pool: Pool, request: Request, url: str, headers: list[tuple[bytes, bytes]]) -> httpcore2.Response:
    connects = False

    async def note(event: str, _: object) -> None:
        nonlocal connects
        connects = connects or event == CONNECTS

    timeouts = {"connect": CONNECT_TIMEOUT_S, "read": HEAD_TIMEOUT_S, "write": CONNECT_TIMEOUT_S}
    asked = httpcore2.Request(request.method, url, headers=headers, extensions={"timeout": timeouts, "trace": note})
    try:
        return await pool.ask(asked)
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError):
        # A kept connection may be closed just as it is used; GET and HEAD may be repeated (RFC 9110, 9.2.2).
        if connects:
            raise
        return await pool.ask(asked, anew=True)


def headers_for(
    request: Request, url: str, is_protected: bool, country_header: bytes = b""
) -> list[tuple[bytes, bytes]]:
    """Return the headers to ask with: the visitor's, without what is only for us, or only for a hop of ours to say."""
    left_out = NOT_ASKED | _named_by(request.headers.get(b"connection", b""))
    if is_protected:
        # It may be the site's password.
        left_out = left_out | {b"authorization"}
    if not request.peer.is_trusted:
        left_out = left_out | {country_header}
    left_out = left_out | {b"cookie"} | {name for name in request.headers if name.startswith(NOT_ASKED_PREFIX)}
    headers = [(name, value) for name, value in request.headers.items() if name not in left_out]
    # By ours, the proxy knows those who may see a protected site.
    cookies = gate_cookies.OURS.sub(b"", request.headers.get(b"cookie", b"")).strip(b"; ")
    headers += [(b"cookie", cookies)] if cookies else []
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    ours = [(b"host", authority.encode()), (b"x-forwarded-host", request.host.encode()), (b"via", VIA)]
    ours += [(b"x-forwarded-for", request.client.encode())] if request.client else []
    is_https = request.peer.is_https(request.headers)
    ours += [(b"x-forwarded-proto", b"https" if is_https else b"http")] if is_https is not None else []
    return [*ours, *headers]


def _named_by(connection: bytes) -> frozenset[bytes]:
    return frozenset(name.strip().lower() for name in connection.split(b","))


async def _begin(
    request: Request, answer: httpcore2.Response, vary: tuple[str, ...], stack: AsyncExitStack
) -> Response:
    if answer.status not in STATUSES:
        raise UpstreamFailed(f"Another server answered with the status {answer.status}.")
    length = _length(answer)
    if length is not None and length > MAX_BODY_BYTES:
        raise UpstreamFailed("Another server's answer is too large.")
    start = _head(answer, vary)
    if request.is_head or answer.status in (204, 304):
        return Response(start)
    # From here on it is the body's to end what was begun; only once it has begun, it does.
    body = _body(answer, stack.pop_all())
    return Response(start, await anext(body, b""), body, lacks_length=length is None)


def _length(answer: httpcore2.Response) -> int | None:
    values = {value for name, value in answer.headers if name.lower() == b"content-length"}
    is_chunked = any(name.lower() == b"transfer-encoding" for name, _ in answer.headers)
    return int(next(iter(values))) if len(values) == 1 and not is_chunked else None


def _head(answer: httpcore2.Response, vary: tuple[str, ...]) -> bytes:
    given = [(name.lower(), name, value) for name, value in answer.headers]
    left_out = NOT_PASSED_ON | frozenset().union(*(_named_by(v) for lower, _, v in given if lower == b"connection"))
    headers = [
        # A cookie is the site's own, whatever the other server says.
        (name.decode("latin-1"), (COOKIE_DOMAIN.sub(b"", value) if lower == b"set-cookie" else value).decode("latin-1"))
        for lower, name, value in given
        if lower not in left_out
    ]
    told = [value.decode("latin-1") for lower, _, value in given if lower == b"vary"]
    if named := joined_vary((*told, *vary)):
        headers.append(("Vary", named))
    length = _length(answer)
    # RFC 9110, 8.6: none where there is never a body, which some would wait for.
    if length is not None and answer.status != 204:
        headers.append(("Content-Length", str(length)))
    return head(answer.status, [*headers, ("Via", VIA.decode())])


async def _body(answer: httpcore2.Response, stack: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    ends, left = loop.time() + BODY_TIMEOUT_S, MAX_BODY_BYTES
    async with stack:
        chunks = answer.aiter_stream().__aiter__()
        while True:
            try:
                async with asyncio.timeout_at(min(ends, loop.time() + CHUNK_TIMEOUT_S)):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except (
                httpcore2.NetworkError,
                httpcore2.ProtocolError,
                httpcore2.TimeoutException,
                TimeoutError,
            ) as failure:
                raise UpstreamFailed(f"Another server's answer broke off: {failure}") from None
            left -= len(chunk)
            if left < 0:
                raise UpstreamFailed("Another server's answer is too large.")
            yield chunk
