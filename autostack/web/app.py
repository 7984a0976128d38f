"""The wiring of the web application: settings, extensions, features, errors, access."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from flask import Flask, Response, jsonify
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.utils import import_string

from autostack import logs
from autostack import models as _models  # noqa: F401 - migrations must know every table
from autostack.accounts.providers import configured
from autostack.bounded import bound
from autostack.deployments import events
from autostack.domains import names
from autostack.extensions import connect_redis, csrf, db, login_manager, migrate, sock
from autostack.settings import Settings, load_settings
from autostack.sites.store import open_store
from autostack.web import access, errors, rate_limits, request_log, security, static_files, templating
from autostack.web import sockets as web_sockets
from autostack.web.browser_sessions import BrowserSessions

log = structlog.stdlib.get_logger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_REQUEST_BYTES = 1_000_000
POSTGRESQL_OPTIONS = (
    "-c timezone=UTC"
    # Nobody of ours holds a lock for long: who waits for one longer than this is told so.
    " -c lock_timeout=10s"
    # What nobody waits for any more (see `bound`) is ended, and what it holds let go. Since PostgreSQL 14.
    " -c client_connection_check_interval=1s"
)
# Every blueprint, by its module and its name there.
FEATURES = (
    "autostack.accounts.account_pages:moved",
    "autostack.accounts.account_pages:pages",
    "autostack.accounts.api:api",
    "autostack.accounts.api:user_api",
    "autostack.accounts.oauth_pages:pages",
    "autostack.accounts.pages:pages",
    "autostack.accounts.preferences_pages:pages",
    "autostack.accounts.profile_pages:pages",
    "autostack.accounts.sign_ins_pages:sessions_pages",
    "autostack.accounts.sign_ins_pages:tokens_pages",
    "autostack.admin.api:api",
    "autostack.admin.pages:pages",
    "autostack.analytics.api:api",
    "autostack.analytics.pages:pages",
    "autostack.builds.agent_api:api",
    "autostack.dashboard.api:api",
    "autostack.dashboard.pages:pages",
    "autostack.deployments.api:api",
    "autostack.deployments.log_pages:pages",
    "autostack.deployments.stream:sockets",
    # The deployments' own pages, to which the wizard adds its.
    "autostack.deployments.wizard_pages:pages",
    "autostack.domains.api:api",
    "autostack.domains.pages:pages",
    "autostack.github.api:api",
    "autostack.github.pages:pages",
    "autostack.palette.pages:pages",
    "autostack.projects.api:api",
    "autostack.projects.environment_pages:pages",
    "autostack.projects.pages:pages",
    "autostack.projects.protection_api:api",
    "autostack.projects.protection_pages:pages",
    "autostack.status.api:api",
    "autostack.status.pages:pages",
    "autostack.status.stream:sockets",
    "autostack.traffic.api:api",
    "autostack.traffic.pages:pages",
    "autostack.web.api_docs:pages",
    "autostack.web.public_pages:pages",
)


class Application(Flask):
    """Flask without a look, before each call of a view or a hook, whether it is a coroutine: none of ours is."""

    def ensure_sync(self, func: Function) -> Function:
        return func


def build_app(settings: Settings | None = None) -> Flask:
    """Return the application that gunicorn serves, and whose context jobs run in."""
    settings = settings or load_settings()
    logs.ensure(settings)
    if names.shares_cookies(settings.app_url, settings.sites_domain):
        log.warning("SITES_DOMAIN shares APP_URL's domain: deployed sites can set cookies that the dashboard receives")
    elif settings.is_production and not names.is_public_suffix(settings.sites_domain):
        log.warning("SITES_DOMAIN is no public suffix: deployed sites can set cookies that their neighbours receive")
    if settings.is_production and settings.smtp_host is None:
        log.warning("SMTP_HOST is not set: no address can be confirmed, and no password reset")
    app = Application("autostack", root_path=str(templating.PACKAGE))
    app.config.update(_flask_config(settings), AUTOSTACK=settings)
    request_log.register(app)
    # Before anything may refuse a request: a refusal has the same headers, and a preflight no token.
    security.register(app)
    static_files.register(app)
    _init_extensions(app, settings)
    _register_features(app)
    errors.register(app)
    templating.register(app, sends_mail=settings.smtp_host is not None, providers=configured(settings))
    access.enforce(app)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app


def _flask_config(settings: Settings) -> dict[str, object]:
    return {
        "SECRET_KEY": settings.secret("secret_key"),
        "SQLALCHEMY_DATABASE_URI": settings.sqlalchemy_url,
        # A hung PostgreSQL must not hang web: connecting, waiting for a connection and (see `bound`) for an answer end.
        "SQLALCHEMY_ENGINE_OPTIONS": {
            # What is written into a statement may be a secret, and its errors are logged.
            "hide_parameters": True,
            "pool_timeout": 10,
            # What a peak opened is kept: opening one takes longer than most requests. The one used last is next, and
            # needs no asking whether it is still there.
            "pool_size": settings.database_pool_size,
            "max_overflow": 0,
            "pool_use_lifo": True,
            "connect_args": {
                "connect_timeout": 5,
                "options": POSTGRESQL_OPTIONS,
            },
        },
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": settings.is_production,
        "PERMANENT_SESSION_LIFETIME": settings.refresh_token_expires_in_s,
        "SESSION_COOKIE_NAME": "__Host-session" if settings.is_production else "session",
        "MAX_CONTENT_LENGTH": MAX_REQUEST_BYTES,
        "MAX_FORM_MEMORY_SIZE": MAX_REQUEST_BYTES,
        "WTF_CSRF_TIME_LIMIT": None,
        "WTF_CSRF_CHECK_DEFAULT": False,
        "SOCK_SERVER_OPTIONS": {"ping_interval": 25, "max_message_size": 4096},
    }


def _init_extensions(app: Flask, settings: Settings) -> None:
    db.init_app(app)
    with app.app_context():
        bound(db.engine, settings.database_timeout_s)
    migrate.init_app(app, db)
    login_manager.init_app(app)
    csrf.init_app(app)
    sock.init_app(app)
    # A Redis that hangs must not hang whoever asks it; what we wait for in it is the proxies' word on a route at most.
    redis = connect_redis(settings, timeout_s=settings.activation_timeout_ms / 1000 + 1)
    app.extensions["autostack_redis"] = redis
    app.session_interface = BrowserSessions(redis, settings.secret("secret_key"), settings.refresh_token_expires_in_s)
    rate_limits.register(app, redis)
    app.extensions["autostack_store"] = open_store(settings)
    events.listen()


def _register_features(app: Flask) -> None:
    # A feature's modules are imported only now: they need the extensions above.
    from autostack.deployments import stream

    for feature in FEATURES:
        app.register_blueprint(import_string(feature))
    web_sockets.register(app)
    stream.register(app, app.extensions["autostack_redis"])
    app.add_url_rule("/healthz", view_func=healthz)


@access.public
def healthz() -> Response:
    """Answer that this process serves. Says nothing of PostgreSQL or Redis: they have checks of their own."""
    return jsonify(status="ok")
