"""`deploy/Caddyfile` with a real Caddy and its own authority: TLS and HTTP/2 for every name that shows something."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import bcrypt
import httpx2
import pytest

from autostack.local import child
from autostack.sites.routes import Protection, write_route
from autostack.sites.store import Store
from tests.s3 import free_port
from tests.sites import PATIENCE_S, ROOT, Proxy, awaited, publish, running_proxy

PASSWORD = "tulips in the snow"
DASHBOARD = "deploy.example.com"


@dataclass(frozen=True)
class Caddy:
    """A Caddy on these ports of 127.0.0.1; `authority` is the certificate that signs all of its own."""

    https_port: int
    http_port: int
    authority: Path

    def client(self) -> httpx2.Client:
        context = ssl.create_default_context(cafile=str(self.authority))
        return httpx2.Client(http2=True, verify=context, trust_env=False, timeout=PATIENCE_S)

    def request(self, method: str, host: str, path: str = "/", **options: object) -> httpx2.Response:
        """Ask as a browser does that has found this Caddy under `host`."""
        headers = {"Host": host, **options.pop("headers", {})}  # type: ignore[dict-item]
        with self.client() as client:
            address = f"https://127.0.0.1:{self.https_port}{path}"
            return client.request(method, address, headers=headers, extensions={"sni_hostname": host}, **options)  # type: ignore[arg-type]

    def get(self, host: str, path: str = "/", **headers: str) -> httpx2.Response:
        return self.request("GET", host, path, headers=headers)


class Dashboard(http.server.BaseHTTPRequestHandler):
    """What stands for web: it says who it was asked for, and how."""

    def do_GET(self) -> None:
        said = f"{self.headers['Host']} {self.headers['X-Forwarded-Proto']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def proxy(folder: Path, environment: dict[str, object], store: Store) -> Iterator[Proxy]:
    behind_caddy = {"APP_URL": f"https://{DASHBOARD}", "SITES_URL_SCHEME": "https", "SITES_URL_PORT": 443}
    publish(store, "www.example.com", {"/index.html": b"mine"})
    publish(store, "site-git-main", {"/index.html": b"preview"}, kind="branch")
    with running_proxy(folder, {**environment, **behind_caddy}) as running:
        yield running


@pytest.fixture(scope="module")
def caddy(folder: Path, proxy: Proxy) -> Iterator[Caddy]:
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    running = Caddy(free_port(), free_port(), folder / "caddy/pki/authorities/local/root.crt")
    given = {
        "APP_HOST": DASHBOARD,
        "WEB": f"127.0.0.1:{web.server_port}",
        "PROXY": f"127.0.0.1:{proxy.port}",
        "HTTPS_PORT": running.https_port,
        "HTTP_PORT": running.http_port,
        "TLS_ISSUER": "internal",
        "CADDY_ADMIN": "off",
        "CADDY_OPTIONS": "skip_install_trust",
        "XDG_DATA_HOME": folder,
        "XDG_CONFIG_HOME": folder,
    }
    log = folder / "caddy.log"
    with log.open("wb") as output:
        process = child.start(
            ["caddy", "run", "--config", str(ROOT / "deploy/Caddyfile"), "--adapter", "caddyfile"],
            env={**os.environ, **{name: str(value) for name, value in given.items()}},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        awaited(lambda: _answers(running, process, log))
        yield running
    finally:
        child.end_group(process.pid)
        process.wait()
        web.shutdown()


def _answers(caddy: Caddy, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-4000:]
    with contextlib.suppress(httpx2.TransportError, FileNotFoundError, ssl.SSLError):
        return caddy.get(DASHBOARD).status_code == 200
    return False


@pytest.mark.parametrize(("host", "body"), [("www.example.com", "mine"), ("site-git-main.localhost", "preview")])
def test_a_name_that_shows_something_gets_a_certificate_and_http_2(caddy, host, body):
    answer = caddy.get(host)
    assert (answer.status_code, answer.http_version, answer.text) == (200, "HTTP/2", body)


@pytest.mark.parametrize("host", ["other.example.com", "nobody.localhost", "127.0.0.1.example.com"])
def test_no_other_name_gets_one(caddy, host):
    with pytest.raises(httpx2.ConnectError):
        caddy.get(host)


def test_a_domain_that_is_freed_gets_none_either(caddy, store):
    route = publish(store, "freed.example.com", {"/index.html": b"old"})
    write_route(store, replace(route, generation=2, removed=True))
    with pytest.raises(httpx2.ConnectError):
        caddy.get("freed.example.com")


def test_the_dashboard_is_web(caddy):
    answer = caddy.get(DASHBOARD)
    assert (answer.http_version, answer.text) == ("HTTP/2", f"{DASHBOARD} https")


def test_who_comes_without_tls_is_sent_to_it(caddy):
    answer = httpx2.get(
        f"http://127.0.0.1:{caddy.http_port}/a?b=1",
        headers={"Host": "www.example.com"},
        trust_env=False,
        timeout=PATIENCE_S,
    )
    assert answer.status_code == 308
    assert answer.headers["location"].startswith("https://www.example.com")
    assert answer.headers["location"].endswith("/a?b=1")


def test_nobody_out_there_asks_which_names_are_served(caddy):
    assert caddy.get("www.example.com", "/.autostack/ask?domain=www.example.com").status_code == 404


def test_a_domain_redirects_to_its_www_over_tls(caddy, store):
    route = publish(store, "example.com", {"/index.html": b"never"})
    write_route(store, replace(route, generation=2, redirect_to="www.example.com"))
    assert caddy.get("example.com", "/a?b=1").headers["location"] == "https://www.example.com/a?b=1"


def test_the_form_of_a_protected_site_gives_a_cookie_that_is_for_tls_only(caddy, store):
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    route = publish(store, "closed.example.com", {"/index.html": b"secret"})
    write_route(store, replace(route, generation=2, protection=Protection(hashed, "key-of-the-first")))
    assert caddy.get("closed.example.com", accept="text/html").status_code == 401
    form = {"password": PASSWORD, "next": "/"}
    answer = caddy.request("POST", "closed.example.com", "/.autostack/unlock", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookies = [line.split("; ") for line in answer.headers.get_list("set-cookie")]
    for cookie, *rules in cookies:
        assert cookie.startswith("__Host-")
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(rules)
    assert caddy.get("closed.example.com", cookie="; ".join(cookie for cookie, *_ in cookies)).text == "secret"


def test_a_cdns_networks_are_believed_whom_they_ask_for():
    command = ["caddy", "adapt", "--config", str(ROOT / "deploy/Caddyfile")]
    told = {**os.environ, "CDN_NETWORKS": "192.0.2.0/24 198.51.100.0/24"}
    config = json.loads(subprocess.run(command, check=True, capture_output=True, env=told).stdout)
    believed = [proxy["trusted_proxies"] for proxy in _with_key(config, "trusted_proxies")]
    assert believed == [["192.0.2.0/24", "198.51.100.0/24"]]


def _with_key(config, key):
    """Yield each object below `config` that has the key."""
    if isinstance(config, dict):
        if key in config:
            yield config
        config = list(config.values())
    for each in config if isinstance(config, list) else ():
        yield from _with_key(each, key)
