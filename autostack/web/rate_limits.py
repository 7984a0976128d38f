"""How often a caller may ask. Counted in Redis; in each process's own memory while Redis is away.

The spec's three limits: authentication by address, new deployments by user, everything else under `/api/` by user.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from ipaddress import ip_network
from typing import TypeVar, cast

from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter, RateLimitExceeded, RequestLimit, RouteLimit
from flask_login import current_user
from limits import RateLimitItem, parse
from redis import Redis

from autostack import cache
from autostack.errors import RateLimited
from autostack.extensions import settings
from autostack.web import counters
from autostack.web.addresses import client_address
from autostack.web.api_limit import ApiLimit, Counted
from autostack.web.errors import render_error

View = TypeVar("View", bound=Callable[..., object])

OWN_LIMIT_ATTRIBUTE = "_autostack_own_limit"
# The part of an IPv6 address that one customer of a provider is given: the rest is theirs to vary.
IPV6_NETWORK_BITS = 64
# How many times as often as the API a page may be asked for that is loaded by others: a status, pictures of a list.
VIEWS_TIMES = 10


def address() -> str:
    """Return the network address that a request counts for."""
    client = client_address()
    if client is None:
        # All such requests count as one client's.
        return "unknown"
    return str(ip_network((client, IPV6_NETWORK_BITS), strict=False)) if client.version == 6 else str(client)


def caller() -> str:
    """Return whom a request counts for: the signed-in user, else the address."""
    return _named(_user_id())


def _named(user_id: uuid.UUID | None) -> str:
    return f"address:{address()}" if user_id is None else f"user:{user_id}"


def _user_id() -> uuid.UUID | None:
    # Once: each look at the proxy finds the user anew.
    user = current_user._get_current_object()
    return cast(uuid.UUID, user.id) if user.is_authenticated else None


def _has_no_limit_of_its_own() -> bool:
    # What no view answers counts, too: who asked for it was looked up.
    view = current_app.view_functions.get(request.endpoint or "")
    return not hasattr(view, OWN_LIMIT_ATTRIBUTE) or _is_repeated()


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


class RouteLimiter(Limiter):
    """Limits what has a limit of its own. All else under `/api/` is counted by `ApiLimit`, at a third of the price."""

    def _check_request_limit(self, callable_name: str | None = None, in_middleware: bool = True) -> None:
        # Before a view is called there is nothing to find, at the price of a query.
        if not in_middleware:
            super()._check_request_limit(callable_name, in_middleware)


limiter = RouteLimiter(caller, in_memory_fallback_enabled=True, key_prefix="autostack")
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
# Of the same count: a search in a log reads it whole.
_searches = limiter.shared_limit(
    lambda: settings().rate_limit_api,
    scope="downloads",
    key_func=caller,
    exempt_when=lambda: not request.args.get("search"),
)
_uploads = limiter.shared_limit(lambda: settings().rate_limit_api, scope="uploads", key_func=caller)
_views = limiter.shared_limit(lambda: _times(VIEWS_TIMES, settings().rate_limit_api), scope="views", key_func=caller)
_lookups = limiter.shared_limit(lambda: settings().rate_limit_api, scope="lookups", key_func=caller)


def limit_authentication(view: View) -> View:
    """Count writes to this route, pages and API together, as attempts to authenticate."""
    return _with_own_limit(_authentication, view)


def limit_deployments(view: View) -> View:
    """Count POSTs to this route as requests for a deployment."""
    return _with_own_limit(_deployments, view)


def limit_downloads(view: View) -> View:
    """Count requests for this page like the API's: what it answers may be long."""
    return _with_own_limit(_downloads, view)


def limit_searches(view: View) -> View:
    """Count requests for this page as downloads where they search it."""
    return _with_own_limit(_searches, view)


def limit_uploads(view: View) -> View:
    """Count requests for this page like the API's: what they bring takes work to look at."""
    return _with_own_limit(_uploads, view)


def limit_views(view: View) -> View:
    """Count requests for this page, but generously: pages ask for it by themselves, often or many at once."""
    return _with_own_limit(_views, view)


def limit_lookups(view: View) -> View:
    """Count requests for this page like the API's: others' servers are asked for its answer."""
    return _with_own_limit(_lookups, view)


def _times(factor: int, limit: str) -> str:
    """Return `factor` times a limit: of "100/minute" ten times is "1000 per 1 minute"."""
    item = parse(limit)
    return f"{item.amount * factor} per {item.multiples} {item.GRANULARITY.name}"


def _with_own_limit(limit: RouteLimit, view: View) -> View:
    limited = limit(view)
    setattr(limited, OWN_LIMIT_ATTRIBUTE, True)
    return cast(View, limited)


def register(app: Flask, redis: Redis) -> None:
    """Limit the application's routes, counting in `redis`."""
    api_limit = ApiLimit(redis, app.config["AUTOSTACK"].rate_limit_api)

    @app.before_request
    def count_for_the_api() -> None:
        if request.path.startswith("/api/"):
            # Here and not in the limiter, which takes any error of its key function for a dead Redis.
            user_id = _user_id()
            if _has_no_limit_of_its_own():
                g.counted_for_the_api = counted = _count(api_limit, user_id)
                if counted.is_exceeded:
                    raise _exceeded(counted.limit)

    app.config["RATELIMIT_STORAGE_URI"] = f"{counters.SCHEME}://"
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"connection_pool": redis.connection_pool}
    limiter.init_app(app)
    app.after_request(_tell_limit)
    app.register_error_handler(RateLimitExceeded, _render)


def _count(api_limit: ApiLimit, user_id: uuid.UUID | None) -> Counted:
    if user_id is None:
        return api_limit.count(_named(None))
    counted = api_limit.count(_named(user_id), cache.version_name(user_id))
    cache.note_version(user_id, counted.other)
    return counted


def _tell_limit(response: Response) -> Response:
    """Say which limit this request counted for, and what is left of it (draft-ietf-httpapi-ratelimit-headers-10)."""
    if "counted_for_the_api" in g:
        counted = g.counted_for_the_api
        _tell(response, "api", counted.limit, counted.remaining, counted.left_s, counted.is_exceeded)
    elif (own := limiter.current_limit) is not None:
        _tell(response, own.request_args[-1], own.limit, *_left(own), own.breached)
    return response


def _tell(response: Response, name: str, limit: RateLimitItem, remaining: int, left_s: int, is_exceeded: bool) -> None:
    response.headers["RateLimit-Policy"] = f'"{name}";q={limit.amount};w={limit.get_expiry()}'
    response.headers["RateLimit"] = f'"{name}";r={remaining};t={left_s}'
    if is_exceeded:
        response.headers["Retry-After"] = str(max(left_s, 1))


def _left(counted: RequestLimit) -> tuple[int, int]:
    """Return how many requests are left, and in how many seconds all will be again."""
    reset_at, remaining = counted.window
    # The end of the window comes in whole seconds, rounded up.
    left_s = min(math.ceil(reset_at - time.time()), counted.limit.get_expiry())
    return max(remaining, 0), max(left_s, 0)


def _render(error: RateLimitExceeded) -> Response:
    return render_error(_exceeded(error.limit.limit if error.limit else None))


def _exceeded(limit: RateLimitItem | None) -> RateLimited:
    return RateLimited(f"Too many requests: at most {limit or 'the limit'}. Try again later.")
