"""The one place that renders errors: the API's envelope, a fragment for HTMX, else a page."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, jsonify, make_response, redirect, request, url_for
from sqlalchemy.exc import OperationalError, TimeoutError
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from autostack.errors import AutostackError, NotFound, Unauthorized, Unavailable
from autostack.web import error_pages
from autostack.web.htmx import is_htmx, page_of_htmx, redirect_to
from autostack.web.request_log import request_id

log = structlog.stdlib.get_logger(__name__)

# Where the spec's name, or ours, isn't HTTP's own.
CODES = {
    413: "PAYLOAD_TOO_LARGE",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMIT_EXCEEDED",
}

WORDS = {
    404: "Nothing is at this address.",
    405: "This address takes another kind of request.",
}

# PostgreSQL's words for a transaction that it took back, because another one was in its way: a serialization failure, a
# deadlock, a lock that was waited for too long.
OVERTAKEN = frozenset({"40001", "40P01", "55P03"})
RETRY_AFTER_S = 1

# What GitHub and Google send browsers back to is below `/api/` too.
VISITED_BY_BROWSERS = frozenset({"oauth"})


def register(app: Flask) -> None:
    """Teach the application to render every error."""
    app.register_error_handler(AutostackError, render_error)
    app.register_error_handler(HTTPException, _render_http)
    app.register_error_handler(OperationalError, _render_database_away)
    # The pool's: every connection is in use.
    app.register_error_handler(TimeoutError, _render_database_away)
    app.register_error_handler(ObjectDeletedError, _render_deleted)
    app.register_error_handler(StaleDataError, _render_deleted)
    app.register_error_handler(Exception, _render_unexpected)


def wants_json() -> bool:
    """Tell whether the request is a program's: the API's and the agents' paths."""
    if not request.path.startswith(("/api/", "/agent/", "/webhooks/")):
        return False
    accepted = request.accept_mimetypes
    return request.blueprint not in VISITED_BY_BROWSERS or accepted["application/json"] >= accepted["text/html"]


def render_error(error: AutostackError) -> Response:
    """Render an error of ours; a browser that must sign in is sent to do so."""
    if isinstance(error, Unauthorized) and not wants_json():
        return _send_to_login()
    if error.status == AutostackError.status:
        # Its message was written for operators.
        return _render_unexpected(error)
    return _render(error.status, error.code, error.message, error.details)


def _render_http(error: HTTPException) -> Response:
    if error.response is not None:
        return make_response(error.response)
    if isinstance(error, RequestRedirect):
        return make_response(error.get_response())
    status = error.code or 500
    code = CODES.get(status, HTTPStatus(status).name)
    response = _render(status, code, _words_of(error, status))
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _words_of(error: HTTPException, status: int) -> str:
    """Return what was said of this error, else ours for its kind: Werkzeug's are about servers and URLs."""
    is_general = error.description == type(error).description
    general = WORDS.get(status) if is_general else None
    return general or error.description or HTTPStatus(status).phrase


def _render_database_away(error: OperationalError | TimeoutError) -> Response:
    if getattr(getattr(error, "orig", None), "sqlstate", None) in OVERTAKEN:
        log.warning("transaction taken back", exc_info=error)
        message = "Something else was changing the same just now. Try again in a moment."
    else:
        log.warning("database unavailable", exc_info=error)
        message = "The database does not answer. Try again in a moment."
    return _render(Unavailable.status, Unavailable.code, message)


def _render_deleted(error: ObjectDeletedError | StaleDataError) -> Response:
    """Whatever was read at the beginning of a request may be deleted by another one before its end."""
    log.info("deleted meanwhile", exc_info=error)
    return _render(NotFound.status, NotFound.code, "It was deleted meanwhile.")


def _render_unexpected(error: Exception) -> Response:
    log.error("unhandled error", exc_info=error)
    message = "Something went wrong on our side. With the request's id we can find out what."
    return _render(AutostackError.status, AutostackError.code, message, {"requestId": request_id()})


def _send_to_login() -> Response:
    if is_htmx():
        # Back to the page, not to the fragment of it that was asked for.
        return redirect_to(url_for("accounts.login", next=page_of_htmx()))
    here = request.full_path.rstrip("?") if request.method == "GET" else None
    return make_response(redirect(url_for("accounts.login", next=here)))


def _render(status: int, code: str, message: str, details: dict[str, Any] | None = None) -> Response:
    if wants_json():
        envelope = {"code": code, "message": message, "statusCode": status, "details": details or {}}
        response = jsonify(error=envelope)
    else:
        response = make_response(error_pages.render(status, message, details))
    response.status_code = status
    if status == Unavailable.status:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
