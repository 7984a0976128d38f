"""The Flask extensions and shared services, made once and bound to an application in `autostack.web.app`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from flask import Response, current_app
from flask_login import LoginManager
from flask_migrate import Migrate
from flask_sock import Sock
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry
from sqlalchemy import DateTime, MetaData
from sqlalchemy.orm import DeclarativeBase, registry

from autostack.settings import Settings
from autostack.sites.store import Store

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Base(DeclarativeBase):
    """Parent of every model. Constraint names follow one pattern, so that migrations can name them.

    Every time carries its zone.
    """

    # On the registry, not on the class: Flask-SQLAlchemy derives a class of its own, and would repeat a map found here.
    registry = registry(metadata=METADATA, type_annotation_map={datetime: DateTime(timezone=True)})


class Logins(LoginManager):  # type: ignore[misc]
    """Flask-Login without the ways to stay signed in that are not ours, which it looks into at each request."""

    def _session_protection_failed(self) -> bool:
        # It would mark a session as stale whenever a phone changes networks; ours are rows that their owner can end.
        return False

    def _update_remember_cookie(self, response: Response) -> Response:
        # Nobody is given one: how long a browser's session lasts is said by its row.
        return response


db = SQLAlchemy(model_class=Base)
migrate = Migrate(directory="migrations", render_as_batch=False)
login_manager = Logins()
csrf = CSRFProtect()
sock = Sock()


def settings() -> Settings:
    """Return the settings of the running application."""
    return cast(Settings, current_app.config["AUTOSTACK"])


def redis() -> Redis:
    """Return the application's Redis client. Redis may be away: callers decide what that means."""
    return cast(Redis, current_app.extensions["autostack_redis"])


def connect_redis(settings: Settings, timeout_s: float) -> Redis:
    """Return a client that waits up to `timeout_s` for an answer, and tries again once if a connection was lost."""
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=timeout_s,
        socket_connect_timeout=2,
        # Not after a time-out: that would double it.
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        health_check_interval=15,
    )


def store() -> Store:
    """Return the object store of the built sites."""
    return cast(Store, current_app.extensions["autostack_store"])


def rowcount(result: Any) -> int:
    """Return how many rows an UPDATE or DELETE changed."""
    return cast(int, result.rowcount)
