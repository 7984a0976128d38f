"""41. Site A sets a `Domain=` cookie → neither site B nor the dashboard receives it (Chromium).

Browsers refuse a cookie for all of a public suffix; the default, `localhost`, counts as one. That operators need such a
domain, and what else they are warned of, is in docs/getting-started.md.
"""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from autostack.settings import load_settings
from autostack.sites.rules.compile import compile_rules
from autostack.sites.store import open_store
from tests.sites import Proxy, publish, running_proxy

# On the Public Suffix List, and not among the names that Chromium asks by TLS only.
SUFFIX = "herokuapp.com"
PLANTING = """<script>
for (const domain of ["DOMAIN", ".DOMAIN", "b.DOMAIN"])
  document.cookie = `planted=script; Domain=${domain}; Path=/`;
document.cookie = "own=1; Path=/";
</script>"""


class Dashboard(http.server.BaseHTTPRequestHandler):
    """What stands for web: it answers with the cookies that it was sent."""

    def do_GET(self) -> None:
        said = (self.headers["Cookie"] or "none").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """A Chromium that finds every name on this machine."""
    here = f"--host-resolver-rules=MAP *.{SUFFIX} 127.0.0.1, MAP {SUFFIX} 127.0.0.1"
    program = shutil.which("chromium") or shutil.which("google-chrome")
    launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", here], timeout=180_000)
    yield launched
    launched.close()


@pytest.fixture(scope="module", params=["localhost", SUFFIX])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Proxy]]:
    """The domain of two sites, `a` and `b`, and their proxy. `a` does what it can to plant cookies."""
    domain, folder = request.param, tmp_path_factory.mktemp("sites")
    environment = {"STORAGE_URL": f"file://{folder}/store", "SITES_DOMAIN": domain}
    store = open_store(load_settings(storage_url=environment["STORAGE_URL"]))
    planted = f"/*\n  Set-Cookie: planted=header; Domain={domain}; Path=/\n"
    rules = compile_rules({"_headers": planted}).rules
    publish(store, "a", {"/index.html": PLANTING.replace("DOMAIN", domain).encode()}, rules=rules)
    publish(store, "b", {"/index.html": b"<p>b</p>"})
    with running_proxy(folder, environment) as proxy:
        yield domain, proxy


@pytest.fixture(scope="module")
def dashboard() -> Iterator[int]:
    """The port of what stands for the dashboard."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def test_f41_no_cookie_of_a_site_reaches_its_neighbour_or_the_dashboard(
    browser: Browser, sites: tuple[str, Proxy], dashboard: int
) -> None:
    domain, proxy = sites
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://a.{domain}:{proxy.port}/")
    assert page.evaluate("document.cookie") == "own=1", "its own it may have"
    page.goto(f"http://b.{domain}:{proxy.port}/")
    assert page.evaluate("document.cookie") == ""
    for host in {"localhost", f"dashboard.{domain}", domain}:
        assert page.goto(f"http://{host}:{dashboard}/").text() == "none"  # type: ignore[union-attr]
    assert {cookie["domain"] for cookie in context.cookies()} == {f"a.{domain}"}
    context.close()
