"""42. A domain of one's own is removed and taken by someone else → no old content, nor what old pages ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from autostack.extensions import settings
from tests.builders import build, publish
from tests.domains import serve
from tests.peers.dns_server import DnsServer
from tests.people import Api
from tests.sites import Proxy, running_proxy

DOMAIN = "www.example.com"
SCRIPT = "/app-5d2f81c3.js"
OLD = {"/index.html": b"alice's", SCRIPT: b"alice's()", "/secret.txt": b"alice's"}


@pytest.fixture
def proxy(app: Flask, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy of the application's store, which hears of its routes."""
    with app.app_context():
        known = settings()
        environment = {"STORAGE_URL": known.object_store_url, "REDIS_URL": known.redis_url.get_secret_value()}
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
    app, api, strangers_api, project, site, dns: DnsServer, proxy
):
    deploy(app, api, project, OLD)
    domain = serve(api, dns, project, DOMAIN)
    deploy(app, api, project, {"/index.html": b"alice's newer page"})
    assert proxy.get(SCRIPT, host=DOMAIN).body == b"alice's()", "an older page still asks for it"
    api.delete(f"/api/domains/{domain['id']}")
    assert not is_old(shown(proxy, DOMAIN))
    others = strangers_api.post("/api/projects", {"name": "Other", "repository": site}).json
    serve(strangers_api, dns, others, DOMAIN)
    assert not is_old(shown(proxy, DOMAIN)), "nothing of its own is deployed yet"
    deploy(app, strangers_api, others, {"/index.html": b"charlie's"})
    assert proxy.get("/", host=DOMAIN).body == b"charlie's"
    assert not is_old(shown(proxy, DOMAIN))
