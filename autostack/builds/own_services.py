"""The services that Autostack itself stands on, as builds must not reach them, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from sqlalchemy import make_url

from autostack.public_addresses import with_port
from autostack.settings import Settings

POSTGRESQL_PORT, REDIS_PORT = 5432, 6379
WEB_PORTS = {"http": 80, "https": 443}


def own_services(settings: Settings) -> list[str]:
    """Return hosts with ports of the database, Redis and the object store, less what is on this machine's sockets."""
    return sorted(set(_database(settings.sqlalchemy_url)) | {*_redis(settings), *_object_store(settings)})


def _database(address: str) -> Iterator[str]:
    url = make_url(address)
    if url.host:
        yield with_port(url.host, url.port or POSTGRESQL_PORT)
    named = url.query.get("host", ())
    for each in (named,) if isinstance(named, str) else named:
        host, _, port = each.partition(":")
        if host and not host.startswith("/"):
            yield with_port(host, int(port or POSTGRESQL_PORT))


def _redis(settings: Settings) -> Iterator[str]:
    url = urlsplit(settings.redis_url.get_secret_value())
    if url.scheme != "unix" and url.hostname:
        yield with_port(url.hostname, url.port or REDIS_PORT)


def _object_store(settings: Settings) -> Iterator[str]:
    url = urlsplit(settings.s3_endpoint_url or "")
    if url.hostname:
        yield with_port(url.hostname, url.port or WEB_PORTS.get(url.scheme, WEB_PORTS["https"]))
