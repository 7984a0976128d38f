"""What answers a path, prepared once: status, headers, and which blob follows. Then, for each request, its conditions.

Pure functions after RFC 9110; the body is fetched by `autostack.proxy.blobs`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from urllib.parse import quote

from autostack.proxy import pages
from autostack.proxy.messages import Part, Request, Response, Tally, head
from autostack.proxy.negotiation import Accepts, ByteRange, Unsatisfiable, is_listed, parse_ranges
from autostack.proxy.own_headers import NO_EXTRAS, Extras
from autostack.proxy.resolve import PCHAR, Local, Redirect, Role, Serve
from autostack.sites.manifest import Blob
from autostack.sites.media_types import is_content_hashed
from autostack.sites.rules.targets import with_query

REVALIDATE = "public, max-age=0, must-revalidate"
IMMUTABLE = "public, max-age=31536000, immutable"
NO_STORE = "no-store"
BASE_HEADERS = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "strict-origin-when-cross-origin")]
PREVIEW_HEADERS = [("X-Robots-Tag", "noindex")]
# All that tells somebody, a browser or a CDN of whatever make, how long to keep an answer.
ABOUT_KEEPING = frozenset(
    ("cache-control", "cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "expires")
)
OF_OUR_PAGES = frozenset(
    (*ABOUT_KEEPING, "content-security-policy", *(name.lower() for name, _ in [*BASE_HEADERS, *PREVIEW_HEADERS]))
)
# What tells the parts of one answer from each other. Nothing that a file holds can be taken for it: each part's length
# follows from its Content-Range.
BOUNDARY = "autostack-part-5f0c7a2e91d84b36"


@dataclass(slots=True)
class Plan:
    """A response whose body is yet to be fetched: a blob as a whole, or these parts of it."""

    head: bytes
    blob: Blob
    parts: tuple[ByteRange, ...] = ()
    # What stands before each part, and after the last, if there are several.
    seams: tuple[bytes, ...] = ()


@dataclass(slots=True, eq=False)
class Prepared:
    """The answer to a path for all who accept the same. `body` is there already, or is that of `blob`.

    `location` is where a redirect leads with `status`; the request's query is added to it. `etag` is empty where
    conditions do not count. `plain` is the same without a coding, which parts are of: itself, or None where parts
    cannot be had.
    """

    head: bytes
    body: Part = b""
    blob: Blob | None = None
    etag: bytes = b""
    media_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    location: str = ""
    status: int = 200
    plain: Prepared | None = field(default=None, repr=False)
    tally: Tally | None = None
    _unchanged: tuple[bytes, Tally | None] | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes, with what is put together later."""
        return 1500 + 2 * len(self.head) + len(self.body)

    @property
    def unchanged(self) -> tuple[bytes, Tally | None]:
        """The head for who has this already, and what counts it. Most who come first have nothing: it can wait."""
        if self._unchanged is None:
            tally = replace(self.tally, status=b"304", times=0, sent_bytes=0) if self.tally else None
            self._unchanged = head(304, list(self.headers)), tally
        return self._unchanged


def prepare(decision: Local, accepts: Accepts, is_preview: bool, extras: Extras = NO_EXTRAS) -> Prepared:
    """Return what answers a path of which this was decided."""
    if isinstance(decision, Serve):
        coding = accepts.choose(decision.file.encodings)
        return _prepare_file(decision, coding, accepts.identity, is_preview, extras)
    if isinstance(decision, Redirect):
        return _prepare_redirect(decision, is_preview, extras)
    # Our own page keeps what it needs to look as it does.
    response = error(decision.status, is_preview=is_preview, extra=tuple(extras.over([], kept=OF_OUR_PAGES)))
    return Prepared(response.head, response.body)


def respond(request: Request, prepared: Prepared) -> Plan | Response:
    """Return what this request gets of a prepared answer, by its method, conditions and ranges."""
    headers = request.headers
    if prepared.etag:
        # Parts are of the plain file, so that a download can be resumed whatever was negotiated before.
        plain = prepared.plain if b"range" in headers and not request.is_head else None
        wants_parts = plain is not None and _if_range_holds(plain, request) and _has_ranges(plain, request)
        prepared = plain if plain is not None and wants_parts else prepared
        status = _precondition_status(prepared.etag, request)
        if status == 304:
            return Response(prepared.unchanged[0])
        if status == 412:
            return _refused(prepared, 412)
        # Conditions and ranges are for requests that would succeed without them (RFC 9110, 13.2.1).
        if wants_parts:
            return _parts(prepared, headers[b"range"].decode("latin-1"))
    if prepared.location and request.query:
        location = with_query(prepared.location, request.query)
        return Response(_redirect_head(prepared.status, location, prepared.headers))
    if request.is_head or prepared.blob is None:
        return Response(prepared.head, b"" if request.is_head else prepared.body)
    return Plan(prepared.head, prepared.blob)


def _refused(prepared: Prepared, status: int, *more: tuple[str, str]) -> Response:
    # It is about what this visitor has: others that a cache answered with it would never see the file.
    others = [line for line in prepared.headers if line[0].lower() not in ABOUT_KEEPING]
    return Response(head(status, [("Content-Length", "0"), ("Cache-Control", NO_STORE), *more, *others]))


def error(
    status: int, is_head: bool = False, is_preview: bool = False, extra: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return one of the platform's own pages, for 4xx and 5xx."""
    body = pages.error_page(status)
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", NO_STORE),
        ("Content-Security-Policy", pages.CONTENT_SECURITY_POLICY),
        *BASE_HEADERS,
        *(PREVIEW_HEADERS if is_preview else []),
        *extra,
    ]
    return Response(head(status, headers), b"" if is_head else body)


def _prepare_redirect(decision: Redirect, is_preview: bool, extras: Extras) -> Prepared:
    # A browser keeps a 308 for ever unless told otherwise, but the next deployment may have the page elsewhere.
    defaults = [("Cache-Control", REVALIDATE), *BASE_HEADERS, *(PREVIEW_HEADERS if is_preview else [])]
    status, location, headers = decision.status, decision.location, tuple(extras.over(defaults))
    return Prepared(_redirect_head(status, location, headers), headers=headers, location=location, status=status)


def moved(origin: str, request: Request) -> Response:
    """Send a visitor on to another host, to the same path and query there."""
    # The parser lets bytes above ASCII pass in a path, a header must not hold them.
    path = quote(request.path, safe="%" + PCHAR)
    location = with_query(origin + path, request.query) if request.query else origin + path
    return Response(_redirect_head(308, location, (("Cache-Control", REVALIDATE), *BASE_HEADERS)))


def _redirect_head(status: int, location: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    return head(status, [("Location", location), ("Content-Length", "0"), *headers])


def _prepare_file(decision: Serve, coding: str | None, takes_plain: bool, is_preview: bool, extras: Extras) -> Prepared:
    file, is_found = decision.file, decision.role.status == 200
    blob = next((blob for name, blob in file.encodings.items() if name == coding), file.identity)
    etag = f'"{blob.sha256}"'
    media_type = extras.content_type(file.type)
    # That nothing is there is not to be remembered, however long its owner lets others be kept.
    kept = () if is_found else ABOUT_KEEPING
    headers = tuple(extras.over(_headers(decision, etag if is_found else "", is_preview, extras), kept))
    described = [("Content-Type", media_type), ("Content-Length", str(blob.size))]
    if coding:
        described.append(("Content-Encoding", coding))
    prepared = Prepared(
        head(decision.role.status, [*described, *headers]),
        blob=blob if blob.size else None,
        etag=etag.encode() if is_found else b"",
        media_type=media_type,
        headers=headers,
    )
    if coding is None:
        prepared.plain = prepared
    elif takes_plain and is_found:
        prepared.plain = _prepare_file(decision, None, True, is_preview, extras)
    return prepared


def _headers(decision: Serve, etag: str, is_preview: bool, extras: Extras) -> list[tuple[str, str]]:
    """Return what stands in every answer with this file, whatever its status."""
    headers = [("ETag", etag), ("Accept-Ranges", "bytes")] if etag else []
    headers += _caching(decision, extras)
    vary = ["Accept-Encoding"] if decision.file.encodings else []
    if decision.role is Role.FALLBACK:
        vary.append("Accept")
    headers += [("Vary", ", ".join(vary))] if vary else []
    return headers + BASE_HEADERS + (PREVIEW_HEADERS if is_preview else [])


def _caching(decision: Serve, extras: Extras) -> list[tuple[str, str]]:
    control = _cache_control(decision.role, decision.path)
    if control != REVALIDATE or not extras.cdn_s or extras.decide("cache-control"):
        return [("Cache-Control", control)]
    # CloudFront knows s-maxage only, other CDNs the header of RFC 9213, which is for them alone.
    shared = f"public, max-age=0, s-maxage={extras.cdn_s}, must-revalidate"
    return [("Cache-Control", shared), ("CDN-Cache-Control", f"public, max-age={extras.cdn_s}")]


def _cache_control(role: Role, path: str) -> str:
    if role.status != 200:
        return NO_STORE
    return IMMUTABLE if role is Role.FILE and is_content_hashed(path) else REVALIDATE


def _if_range_holds(prepared: Prepared, request: Request) -> bool:
    # We send no Last-Modified, so a date never matches; nor does a weak tag (RFC 9110, 13.1.5).
    condition = request.headers.get(b"if-range")
    return condition is None or condition.strip() == prepared.etag


def _precondition_status(etag: bytes, request: Request) -> int | None:
    """Return 412 or 304 if a condition asks for it (RFC 9110, 13.2.2). Those on dates are ignored: we know none."""
    if_match = request.headers.get(b"if-match")
    if if_match is not None and not is_listed(etag, if_match, weak=False):
        return 412
    if_none_match = request.headers.get(b"if-none-match")
    return 304 if if_none_match is not None and is_listed(etag, if_none_match, weak=True) else None


def _has_ranges(plain: Prepared, request: Request) -> bool:
    """Tell whether there is sense in a Range: one without is as if it were not there (RFC 9110, 14.2)."""
    try:
        return bool(parse_ranges(request.headers[b"range"].decode("latin-1"), plain.blob.size if plain.blob else 0))
    except Unsatisfiable:
        return True


def _parts(prepared: Prepared, header: str) -> Plan | Response:
    blob, size = prepared.blob, prepared.blob.size if prepared.blob else 0
    try:
        parts = parse_ranges(header, size)
    except Unsatisfiable:
        return _refused(prepared, 416, ("Content-Range", f"bytes */{size}"))
    if blob is None:
        return Response(prepared.head)
    if len(parts) > 1:
        return _several_parts(prepared, blob, parts)
    described = [
        ("Content-Type", prepared.media_type),
        ("Content-Length", str(parts[0].end - parts[0].start)),
        ("Content-Range", _content_range(parts[0], size)),
    ]
    return Plan(head(206, [*described, *prepared.headers]), blob, parts)


def _several_parts(prepared: Prepared, blob: Blob, parts: tuple[ByteRange, ...]) -> Plan:
    """Return an answer of the type multipart/byteranges (RFC 9110, 14.6)."""
    seams = [
        f"\r\n--{BOUNDARY}\r\nContent-Type: {prepared.media_type}\r\n"
        f"Content-Range: {_content_range(part, blob.size)}\r\n\r\n".encode()
        for part in parts
    ]
    seams[0] = seams[0].removeprefix(b"\r\n")
    seams.append(f"\r\n--{BOUNDARY}--\r\n".encode())
    length = sum(map(len, seams)) + sum(part.end - part.start for part in parts)
    described = [
        ("Content-Type", f"multipart/byteranges; boundary={BOUNDARY}"),
        ("Content-Length", str(length)),
    ]
    return Plan(head(206, [*described, *prepared.headers]), blob, parts, tuple(seams))


def _content_range(part: ByteRange, size: int) -> str:
    return f"bytes {part.start}-{part.end - 1}/{size}"
