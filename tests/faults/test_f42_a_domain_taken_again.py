"""42. A domain of one's own is removed and taken by someone else → no old content, nor what old pages ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from autostack.extensions import settings
from tests.builders import build, publish
from tests.conftest import AppMaker
from tests.domains import serve
from tests.peers.dns_server import DnsServer
from tests.people import Api, Person
from tests.sites import Proxy, running_proxy

DOMAIN = "www.example.com"
ROUTE_TTL_MS = 1_000
SCRIPT = "/app-5d2f81c3.js"
OLD = {"/index.html": b"alice's", SCRIPT: b"alice's()", "/secret.txt": b"alice's"}


@pytest.fixture
def announcing(make_app: AppMaker, dns: DnsServer) -> Flask:
    """The application where a proxy listens: it waits for the proxy's word, and for its routes' time to live."""
    known = {"repo_hosts_allowed": frozenset({"127.0.0.1"}), "dns_servers": dns.address}
    return make_app(**known, activation_timeout_ms=60_000, route_ttl_ms=ROUTE_TTL_MS)


@pytest.fixture
def proxy(app: Flask, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy of the application's store, which hears of its routes."""
    with app.app_context():
        known = settings()
        environment = {"STORAGE_URL": known.object_store_url, "REDIS_URL": known.redis_url.get_secret_value()}
    environment["ROUTE_TTL"] = str(ROUTE_TTL_MS)
    with running_proxy(tmp_path, environment) as running:
        yield running


def deploy(app: Flask, api: Api, project: dict[str, Any], files: dict[str, bytes]) -> None:
    id = str(api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    build(app, id, files)
    publish(app, id)


def shown(proxy: Proxy, host: str) -> set[bytes]:
    """Return what of Alice's files a host shows, and its front page."""
    return {proxy.get(path, host=host).body for path in OLD} | {proxy.get("/", host=host).body}


def is_old(bodies: set[bytes]) -> bool:
    return any(b"alice" in body for body in bodies)


def test_f42_a_domain_that_is_taken_again_shows_nothing_old(
    announcing: Flask,
    alice: Person,
    charlie: Person,
    project: dict[str, Any],
    site: str,
    dns: DnsServer,
    proxy: Proxy,
) -> None:
    api, strangers_api = Api(announcing, alice.token), Api(announcing, charlie.token)
    deploy(announcing, api, project, OLD)
    domain = serve(api, dns, project, DOMAIN)
    deploy(announcing, api, project, {"/index.html": b"alice's newer page"})
    assert proxy.get(SCRIPT, host=DOMAIN).body == b"alice's()", "an older page still asks for it"
    api.delete(f"/api/domains/{domain['id']}")
    assert not is_old(shown(proxy, DOMAIN))
    others = strangers_api.post("/api/projects", {"name": "Other", "repository": site}).json
    serve(strangers_api, dns, others, DOMAIN)
    assert not is_old(shown(proxy, DOMAIN)), "nothing of its own is deployed yet"
    deploy(announcing, strangers_api, others, {"/index.html": b"charlie's"})
    assert proxy.get("/", host=DOMAIN).body == b"charlie's"
    assert not is_old(shown(proxy, DOMAIN))
