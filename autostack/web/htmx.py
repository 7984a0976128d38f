"""What HTMX asks for and is told, in headers."""

from __future__ import annotations

from flask import Response, make_response, request


def is_htmx() -> bool:
    """Tell whether HTMX made this request, and so takes a fragment."""
    return request.headers.get("HX-Request") == "true"


def redirect_to(location: str) -> Response:
    """Have HTMX load another page."""
    response = make_response("", 200)
    response.headers["HX-Redirect"] = location
    return response
