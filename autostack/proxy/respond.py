"""The response to a request once its file is known: status, headers, and which bytes of which blob follow.

Pure functions after RFC 9110; the body is fetched by `autostack.proxy.handler`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from autostack.proxy import pages
from autostack.proxy.messages import Request, Response, head
from autostack.proxy.negotiation import (
    ByteRange,
    Unsatisfiable,
    choose_encoding,
    is_listed,
    parse_range,
    refuses_identity,
    takes_html,
)
from autostack.proxy.resolve import BadPath, Nothing, Redirect, Role, Serve, decode_path, resolve
from autostack.sites.manifest import Blob, File, Manifest
from autostack.sites.media_types import is_content_hashed

REVALIDATE = "public, max-age=0, must-revalidate"
IMMUTABLE = "public, max-age=31536000, immutable"
NO_STORE = "no-store"
BASE_HEADERS = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "strict-origin-when-cross-origin")]
PREVIEW_HEADERS = [("X-Robots-Tag", "noindex")]


@dataclass(slots=True)
class Plan:
    """A response whose body is part of a blob that is yet to be fetched."""

    head: bytes
    blob: Blob
    part: ByteRange


class Variant(NamedTuple):
    """One of a file's encodings: what the client gets under one entity tag. `encoding` None is the plain file."""

    blob: Blob
    encoding: str | None

    @property
    def etag(self) -> str:
        return f'"{self.blob.sha256}"'


def respond(request: Request, manifest: Manifest, is_preview: bool) -> Plan | Response:
    """Decide on everything but the body's bytes."""
    try:
        path = decode_path(request.path)
    except BadPath:
        return error(400, request.is_head)
    decision = resolve(manifest, path, takes_html(_header(request, b"accept")))
    if isinstance(decision, Redirect):
        return _redirect(decision, request, is_preview)
    if isinstance(decision, Nothing):
        return error(404, request.is_head, is_preview)
    return _serve(decision, request, is_preview)


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


def _redirect(decision: Redirect, request: Request, is_preview: bool) -> Response:
    query = b"?" + request.query if request.query else b""
    # The parser lets bytes above ASCII pass in a target, a header must not hold them.
    kept = "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"%{byte:02X}" for byte in query)
    # A browser keeps a 308 for ever unless told otherwise, but the next deployment may have the page elsewhere.
    headers = [("Location", decision.location + kept), ("Content-Length", "0"), ("Cache-Control", REVALIDATE)]
    return Response(head(308, [*headers, *BASE_HEADERS, *(PREVIEW_HEADERS if is_preview else [])]))


def _serve(decision: Serve, request: Request, is_preview: bool) -> Plan | Response:
    # Conditions and ranges are for requests that would succeed without them (RFC 9110, 13.2.1).
    may_be_part = decision.role is not Role.NOT_FOUND and not request.is_head
    variant = _choose_variant(decision.file, request, may_be_part)
    if decision.role is Role.NOT_FOUND:
        return _whole(decision, variant, request, is_preview)
    status = _precondition_status(variant.etag, request)
    if status is not None:
        return Response(_file_head(decision, variant, status, is_preview))
    try:
        part = _wanted_range(variant, request)
    except Unsatisfiable:
        return error(416, extra=(("Content-Range", f"bytes */{variant.blob.size}"),))
    if part is None:
        return _whole(decision, variant, request, is_preview)
    return Plan(_file_head(decision, variant, 206, is_preview, part), variant.blob, part)


def _choose_variant(file: File, request: Request, may_be_part: bool) -> Variant:
    accepts = request.headers.get(b"accept-encoding", b"").decode("latin-1")
    asks_for_range = may_be_part and b"range" in request.headers
    if not file.encodings or (asks_for_range and not refuses_identity(accepts) and _if_range_holds(file, request)):
        # Parts are of the plain file, so that a download can be resumed whatever was negotiated before.
        return Variant(file.identity, None)
    encoding = choose_encoding(accepts, frozenset(file.encodings))
    blob = next((blob for name, blob in file.encodings.items() if name == encoding), file.identity)
    return Variant(blob, encoding)


def _if_range_holds(file: File, request: Request) -> bool:
    # We send no Last-Modified, so a date never matches; nor does a weak tag (RFC 9110, 13.1.5).
    condition = _header(request, b"if-range")
    return condition is None or condition.strip() == Variant(file.identity, None).etag


def _wanted_range(variant: Variant, request: Request) -> ByteRange | None:
    header = _header(request, b"range")
    if header is None or request.is_head or variant.encoding is not None:
        return None
    condition = _header(request, b"if-range")
    if condition is not None and condition.strip() != variant.etag:
        return None
    return parse_range(header, variant.blob.size)


def _precondition_status(etag: str, request: Request) -> int | None:
    """Return 412 or 304 if a condition asks for it (RFC 9110, 13.2.2). Those on dates are ignored: we know none."""
    if_match = _header(request, b"if-match")
    if if_match is not None and not is_listed(etag, if_match, weak=False):
        return 412
    if_none_match = _header(request, b"if-none-match")
    return 304 if if_none_match is not None and is_listed(etag, if_none_match, weak=True) else None


def _whole(decision: Serve, variant: Variant, request: Request, is_preview: bool) -> Plan | Response:
    status = 404 if decision.role is Role.NOT_FOUND else 200
    start = _file_head(decision, variant, status, is_preview)
    if request.is_head or variant.blob.size == 0:
        return Response(start)
    return Plan(start, variant.blob, ByteRange(0, variant.blob.size))


def _file_head(
    decision: Serve, variant: Variant, status: int, is_preview: bool, part: ByteRange | None = None
) -> bytes:
    vary = ["Accept-Encoding"] if decision.file.encodings else []
    if decision.role is Role.FALLBACK:
        vary.append("Accept")
    return _cached_head(
        status,
        decision.file.type,
        variant,
        _cache_control(decision.role, decision.path),
        ", ".join(vary),
        is_preview,
        part,
    )


@lru_cache(maxsize=8192)
def _cache_control(role: Role, path: str) -> str:
    if role is Role.NOT_FOUND:
        return NO_STORE
    return IMMUTABLE if role is Role.FILE and is_content_hashed(path) else REVALIDATE


@lru_cache(maxsize=16384)
def _cached_head(
    status: int,
    media_type: str,
    variant: Variant,
    cache_control: str,
    vary: str,
    is_preview: bool,
    part: ByteRange | None,
) -> bytes:
    size = variant.blob.size
    headers: list[tuple[str, str]] = []
    if status in (200, 206, 404):
        headers += [("Content-Type", media_type), ("Content-Length", str(part.end - part.start if part else size))]
    if status == 412:
        headers += [("Content-Length", "0")]
    if variant.encoding and status in (200, 404):
        headers += [("Content-Encoding", variant.encoding)]
    if part:
        headers += [("Content-Range", f"bytes {part.start}-{part.end - 1}/{size}")]
    if status != 404:
        headers += [("ETag", variant.etag), ("Accept-Ranges", "bytes")]
    headers += [("Cache-Control", cache_control)]
    headers += [("Vary", vary)] if vary else []
    return head(status, headers + BASE_HEADERS + (PREVIEW_HEADERS if is_preview else []))


def _header(request: Request, name: bytes) -> str | None:
    value = request.headers.get(name)
    return None if value is None else value.decode("latin-1")
