"""What HTMX asks for and is told, in headers."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response, make_response, request


def is_htmx() -> bool:
    """Tell whether HTMX made this request, and so takes a fragment."""
    return request.headers.get("HX-Request") == "true"


def page_of_htmx() -> str | None:
    """Return the path and query of the page that HTMX asks from."""
    page = urlsplit(request.headers.get("HX-Current-URL", ""))
    if not page.path:
        return None
    return f"{page.path}?{page.query}" if page.query else page.path


def redirect_to(location: str) -> Response:
    """Have HTMX load another page."""
    response = make_response("", 200)
    response.headers["HX-Redirect"] = location
    return response
