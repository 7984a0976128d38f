"""The wiring of the web application: settings, extensions, features, errors, access."""

from __future__ import annotations

import structlog
from flask import Flask, Response, jsonify
from werkzeug.middleware.proxy_fix import ProxyFix

from autostack import logs
from autostack import models as _models  # noqa: F401 - migrations must know every table
from autostack.accounts.providers import configured
from autostack.bounded import bound
from autostack.deployments import events
from autostack.extensions import connect_redis, csrf, db, login_manager, migrate, sock
from autostack.settings import Settings, is_shared_domain, load_settings
from autostack.sites.store import open_store
from autostack.web import access, errors, rate_limits, request_log, security, templating
from autostack.web.browser_sessions import BrowserSessions

log = structlog.stdlib.get_logger(__name__)

MAX_REQUEST_BYTES = 1_000_000


def build_app(settings: Settings | None = None) -> Flask:
    """Return the application that gunicorn serves, and whose context jobs run in."""
    settings = settings or load_settings()
    logs.ensure(settings)
    if is_shared_domain(settings.app_url, settings.sites_domain):
        log.warning("SITES_DOMAIN shares APP_URL's domain: deployed sites can set cookies that the dashboard receives")
    if settings.is_production and settings.smtp_host is None:
        log.warning("SMTP_HOST is not set: no address can be confirmed, and no password reset")
    app = Flask("autostack", root_path=str(templating.PACKAGE))
    app.config.update(_flask_config(settings), AUTOSTACK=settings)
    request_log.register(app)
    # Before anything may refuse a request: a refusal has the same headers, and a preflight no token.
    security.register(app)
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
            "pool_size": settings.database_pool_size,
            "max_overflow": settings.database_pool_size,
            # Nobody of ours holds a lock for long: who waits for one longer than this is told so.
            "connect_args": {"connect_timeout": 5, "options": "-c timezone=UTC -c lock_timeout=10s"},
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
    # Imported here: a feature's modules need the extensions above.
    from autostack.accounts.api import api as accounts_api
    from autostack.accounts.api import user_api
    from autostack.accounts.connections_pages import pages as connections_pages
    from autostack.accounts.oauth_pages import pages as oauth_pages
    from autostack.accounts.pages import pages as accounts_pages
    from autostack.accounts.settings_pages import pages as account_pages
    from autostack.accounts.sign_ins_pages import sessions_pages, tokens_pages
    from autostack.admin.api import api as admin_api
    from autostack.admin.pages import pages as admin_pages
    from autostack.builds.agent_api import api as agent_api
    from autostack.deployments import stream
    from autostack.deployments.api import api as deployments_api
    from autostack.deployments.pages import pages as deployments_pages
    from autostack.github.api import api as github_api
    from autostack.projects.api import api as projects_api
    from autostack.projects.pages import pages as projects_pages
    from autostack.web.api_docs import pages as api_docs

    for blueprint in (
        accounts_api,
        accounts_pages,
        admin_api,
        admin_pages,
        agent_api,
        api_docs,
        connections_pages,
        deployments_api,
        deployments_pages,
        stream.sockets,
        github_api,
        oauth_pages,
        projects_api,
        projects_pages,
        account_pages,
        sessions_pages,
        tokens_pages,
        user_api,
    ):
        app.register_blueprint(blueprint)
    stream.register(app, app.extensions["autostack_redis"])
    app.add_url_rule("/healthz", view_func=healthz)


@access.public
def healthz() -> Response:
    """Answer that this process serves. Says nothing of PostgreSQL or Redis: they have checks of their own."""
    return jsonify(status="ok")
