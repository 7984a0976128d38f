"""One line in the log for each request, and the id by which to find all lines of one: `X-Request-ID`, in and out."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import cast
from urllib.parse import quote

import structlog
from flask import Flask, Response, g, request

log = structlog.stdlib.get_logger(__name__)

HEADER = "X-Request-ID"
# What a caller, or a proxy before us, may name a request; anything else could be made to look like lines of ours.
FOREIGN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,127}", re.ASCII)
MAX_PATH_CHARACTERS = 200
SWITCHING_PROTOCOLS = 101
# Asked for so often, by machines, that nobody wants to read of it while all is well.
ROUTINE = ("/healthz", "/static/", "/agent/")


def request_id() -> str:
    """Return the id of the current request."""
    return cast(str, g.request_id)


def register(app: Flask) -> None:
    """Name and log the application's requests. To be called before anything else has its say about them."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.request_began = time.perf_counter()
    g.request_id = _given_id() or secrets.token_hex(16)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id, address=request.remote_addr)


def _given_id() -> str | None:
    given = request.headers.get(HEADER, "")
    return given if FOREIGN_ID.fullmatch(given) else None


def _end(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    rule = request.url_rule
    status = SWITCHING_PROTOCOLS if rule is not None and rule.websocket else response.status_code
    log.log(
        _level(status),
        "request",
        method=request.method,
        # Without its query, which may hold a secret.
        path=quote(request.path)[:MAX_PATH_CHARACTERS],
        route=rule.rule if rule is not None else None,
        status=status,
        duration_ms=round((time.perf_counter() - g.request_began) * 1000, 1),
    )
    return response


def _level(status: int) -> int:
    if status >= 500:
        return logging.WARNING
    return logging.DEBUG if status < 400 and request.path.startswith(ROUTINE) else logging.INFO
