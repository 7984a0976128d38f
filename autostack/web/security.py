"""The headers that tell browsers what pages of ours may do, and who may call the API from pages of others."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from autostack.extensions import settings

# What is no page may do nothing at all, should a browser ever show it as one.
NOTHING = "default-src 'none'; frame-ancestors 'none'"
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    # Addresses of ours hold ids and, in mails' links, secrets. To our own pages it must be sent: CSRF is checked by it.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Files have their own. All else is somebody's, or carries somebody's token in its forms.
    "Cache-Control": "no-store",
}
TWO_YEARS_S = 63_072_000
CORS_METHODS = "GET, POST, PUT, PATCH, DELETE"
CORS_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-ID"
CORS_EXPOSED = "Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
CORS_MAX_AGE_S = 600


def register(app: Flask) -> None:
    """Send the headers with every answer. To be called before access is enforced: preflights carry no token."""
    app.before_request(_answer_preflight)
    app.after_request(_harden)
    app.after_request(_share_with_frontend)


def nonce() -> str:
    """Return what the scripts of this answer's page are known by."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return str(g.csp_nonce)


def page_policy() -> str:
    """Return the Content-Security-Policy of a page: files of ours, and only those scripts that carry the nonce."""
    own = urlsplit(settings().app_url)
    # Not every browser counts websockets among 'self'.
    sockets = f"{'wss' if own.scheme == 'https' else 'ws'}://{own.netloc}"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce()}'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            f"connect-src 'self' {sockets}",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def _harden(response: Response) -> Response:
    policy = page_policy() if response.mimetype == "text/html" else NOTHING
    # Looked through once, and not by each `setdefault` anew.
    given = {name.lower() for name, _ in response.headers}
    for name, value in (("Content-Security-Policy", policy), *ALWAYS.items()):
        if name.lower() not in given:
            response.headers.add(name, value)
    if settings().is_production:
        response.headers["Strict-Transport-Security"] = f"max-age={TWO_YEARS_S}; includeSubDomains"
    return response


def _vary_by_origin(response: Response) -> None:
    if "Vary" in response.headers:
        response.vary.add("Origin")
    else:
        # Without the library's set of names, which is written back into the headers.
        response.headers.add("Vary", "Origin")


def _is_frontends() -> bool:
    """Tell whether a page of FRONTEND_URL calls the API."""
    origin = request.headers.get("Origin")
    return request.path.startswith("/api/") and origin is not None and origin == settings().frontend_origin


def _answer_preflight() -> Response | None:
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers or not _is_frontends():
        return None
    headers = {
        "Access-Control-Allow-Methods": CORS_METHODS,
        "Access-Control-Allow-Headers": CORS_HEADERS,
        "Access-Control-Max-Age": str(CORS_MAX_AGE_S),
    }
    return Response(status=204, headers=headers)


def _share_with_frontend(response: Response) -> Response:
    if request.path.startswith("/api/"):
        _vary_by_origin(response)
    if _is_frontends():
        # Without Allow-Credentials: a page elsewhere has its token, and no use of our cookie.
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Expose-Headers"] = CORS_EXPOSED
    return response
