"""The one place that renders errors: the API's envelope, a fragment for HTMX, else a page."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, current_app, jsonify, make_response, redirect, request, url_for
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError, TimeoutError
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from autostack.errors import AutostackError, Invalid, NotFound, Unauthorized, Unavailable
from autostack.web.htmx import is_htmx, redirect_to
from autostack.web.request_log import request_id

log = structlog.stdlib.get_logger(__name__)

# Where the spec's name, or ours, isn't HTTP's own.
CODES = {
    413: "PAYLOAD_TOO_LARGE",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMIT_EXCEEDED",
}

# What GitHub and Google send browsers back to is below `/api/` too.
VISITED_BY_BROWSERS = frozenset({"oauth"})


def register(app: Flask) -> None:
    """Teach the application to render every error."""
    app.register_error_handler(AutostackError, render_error)
    app.register_error_handler(ValidationError, _render_validation)
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


def problems_by_field(error: ValidationError) -> dict[str, str]:
    """Return pydantic's complaints as field → sentence, the fields named as the client names them."""
    return {".".join(map(str, item["loc"])) or "body": _sentence(item["msg"]) for item in error.errors()}


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


def render_error(error: AutostackError) -> Response:
    """Render an error of ours; a browser that must sign in is sent to do so."""
    if isinstance(error, Unauthorized) and not wants_json():
        return _send_to_login()
    if error.status == AutostackError.status:
        # Its message was written for operators.
        return _render_unexpected(error)
    return _render(error.status, error.code, error.message, error.details)


def _render_validation(error: ValidationError) -> Response:
    details = problems_by_field(error)
    message = "; ".join(f"{field}: {problem}" for field, problem in details.items())
    return _render(Invalid.status, Invalid.code, message, details)


def _render_http(error: HTTPException) -> Response:
    if error.response is not None:
        return make_response(error.response)
    if isinstance(error, RequestRedirect):
        return make_response(error.get_response())
    status = error.code or 500
    code = CODES.get(status, HTTPStatus(status).name)
    response = _render(status, code, error.description or HTTPStatus(status).phrase)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _render_database_away(error: OperationalError | TimeoutError) -> Response:
    log.warning("database unavailable", exc_info=error)
    return _render(Unavailable.status, Unavailable.code, "The database does not answer. Try again in a moment.")


def _render_deleted(error: ObjectDeletedError | StaleDataError) -> Response:
    """Whatever was read at the beginning of a request may be deleted by another one before its end."""
    log.info("deleted meanwhile", exc_info=error)
    return _render(NotFound.status, NotFound.code, "It was deleted meanwhile.")


def _render_unexpected(error: Exception) -> Response:
    log.error("unhandled error", exc_info=error)
    message = "Something went wrong on our side. With the request's id we can find out what."
    return _render(AutostackError.status, AutostackError.code, message, {"requestId": request_id()})


def _send_to_login() -> Response:
    here = request.full_path.rstrip("?") if request.method == "GET" else None
    target = url_for("accounts.login", next=here)
    return redirect_to(target) if is_htmx() else make_response(redirect(target))


def _render(status: int, code: str, message: str, details: dict[str, Any] | None = None) -> Response:
    if wants_json():
        envelope = {"code": code, "message": message, "statusCode": status, "details": details or {}}
        response = jsonify(error=envelope)
    else:
        # Not by `render_template`: Flask-Login would then ask the database who this is, which may be what failed.
        template = current_app.jinja_env.get_template("errors/_problem.html" if is_htmx() else "errors/page.html")
        title = HTTPStatus(status).phrase
        response = make_response(template.render(status=status, title=title, message=message, details=details))
    response.status_code = status
    return response
