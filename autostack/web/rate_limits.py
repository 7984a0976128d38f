"""How often a caller may ask. Counted in Redis; in each process's own memory while Redis is away.

The spec's three limits: authentication by address, new deployments by user, everything else under `/api/` by user.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from ipaddress import ip_network
from typing import TypeVar, cast

from flask import Flask, Response, current_app, g, request
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded, RequestLimit, RouteLimit
from flask_login import current_user
from redis import Redis
from redis.exceptions import RedisError

from autostack.errors import RateLimited
from autostack.extensions import settings
from autostack.web.addresses import client_address
from autostack.web.errors import render_error

View = TypeVar("View", bound=Callable[..., object])

OWN_LIMIT_ATTRIBUTE = "_autostack_own_limit"
# The part of an IPv6 address that one customer of a provider is given: the rest is theirs to vary.
IPV6_NETWORK_BITS = 64
# What the limiter calls the limit of everything else.
PUBLIC_NAMES = {"global": "api"}


def address() -> str:
    """Return the network address that a request counts for."""
    client = client_address()
    if client is None:
        # All such requests count as one client's.
        return "unknown"
    return str(ip_network((client, IPV6_NETWORK_BITS), strict=False)) if client.version == 6 else str(client)


def caller() -> str:
    """Return whom a request counts for: the signed-in user, else the address."""
    return f"user:{current_user.id}" if current_user.is_authenticated else f"address:{address()}"


def _has_no_general_limit() -> bool:
    view = current_app.view_functions.get(request.endpoint or "")
    return not request.path.startswith("/api/") or (hasattr(view, OWN_LIMIT_ATTRIBUTE) and not _is_repeated())


def _is_repeated() -> bool:
    """Tell whether a request for a deployment came before: who lost its answer must get it, whatever the limit says."""
    # Features stand above this module.
    from autostack.deployments import idempotency

    key = request.headers.get("Idempotency-Key")
    if key is None or not current_user.is_authenticated:
        return False
    if "is_repeated" not in g:
        g.is_repeated = idempotency.is_known(current_user.id, key)
    return bool(g.is_repeated)


limiter = Limiter(
    caller,
    application_limits=[
        ApplicationLimit(lambda: settings().rate_limit_api, key_function=caller, exempt_when=_has_no_general_limit)
    ],
    in_memory_fallback_enabled=True,
    key_prefix="autostack",
)
_authentication = limiter.shared_limit(
    lambda: settings().rate_limit_auth, scope="authentication", key_func=address, methods=["POST", "PUT", "DELETE"]
)
_deployments = limiter.shared_limit(
    lambda: settings().rate_limit_deployments,
    scope="deployments",
    key_func=caller,
    methods=["POST"],
    exempt_when=_is_repeated,
)
_downloads = limiter.shared_limit(lambda: settings().rate_limit_api, scope="downloads", key_func=caller)


def limit_authentication(view: View) -> View:
    """Count writes to this route, pages and API together, as attempts to authenticate."""
    return _with_own_limit(_authentication, view)


def limit_deployments(view: View) -> View:
    """Count POSTs to this route as requests for a deployment."""
    return _with_own_limit(_deployments, view)


def limit_downloads(view: View) -> View:
    """Count requests for this page like the API's: what it answers may be long."""
    return _with_own_limit(_downloads, view)


def _with_own_limit(limit: RouteLimit, view: View) -> View:
    limited = limit(view)
    setattr(limited, OWN_LIMIT_ATTRIBUTE, True)
    return cast(View, limited)


def register(app: Flask, redis: Redis) -> None:
    """Limit the application's routes, counting in `redis`."""

    @app.before_request
    def know_the_caller() -> None:
        # Here and not in the limiter, which takes any error of its key function for a dead Redis.
        if request.path.startswith("/api/"):
            _ = current_user.is_authenticated

    app.config["RATELIMIT_STORAGE_URI"] = "redis://"
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"connection_pool": redis.connection_pool}
    limiter.init_app(app)
    app.after_request(_tell_limit)
    app.register_error_handler(RateLimitExceeded, _render)


def _tell_limit(response: Response) -> Response:
    """Say which limit this request counted for, and what is left of it (draft-ietf-httpapi-ratelimit-headers-10)."""
    counted = limiter.current_limit
    if counted is not None:
        remaining, reset_s = _left(counted)
        name = PUBLIC_NAMES.get(counted.request_args[-1], counted.request_args[-1])
        response.headers["RateLimit-Policy"] = f'"{name}";q={counted.limit.amount};w={counted.limit.get_expiry()}'
        response.headers["RateLimit"] = f'"{name}";r={remaining};t={reset_s}'
        if counted.breached:
            response.headers["Retry-After"] = str(max(reset_s, 1))
    return response


def _left(counted: RequestLimit) -> tuple[int, int]:
    """Return how many requests are left, and in how many seconds all will be again."""
    try:
        reset_at, remaining = counted.window
    except RedisError:
        # Redis went after it had counted: the whole window is the cautious answer.
        return 0 if counted.breached else counted.limit.amount - 1, counted.limit.get_expiry()
    return max(remaining, 0), max(math.ceil(reset_at - time.time()), 0)


def _render(error: RateLimitExceeded) -> Response:
    limit = error.limit.limit if error.limit else "the limit"
    return render_error(RateLimited(f"Too many requests: at most {limit}. Try again later."))
