"""Our own files are sent compressed and kept for good; pages that hold secrets beside a request's words are neither."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import brotli
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.people import Browser

FOREVER = "public, max-age=31536000, immutable"


def linked(client: FlaskClient) -> set[str]:
    """Return the addresses of the files that the landing page asks for."""
    return set(re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/").text))


def test_a_page_links_its_files_by_addresses_that_may_be_kept_for_good(client: FlaskClient) -> None:
    assert len(linked(client)) > 4
    for address in linked(client):
        assert re.search(r"\?v=[0-9a-f]{12}$", address), address
        answered = client.get(address)
        assert answered.status_code == 200
        assert set(answered.headers["Cache-Control"].split(", ")) == set(FOREVER.split(", "))
        assert "Set-Cookie" not in answered.headers


@pytest.mark.parametrize("address", ["/static/app.css", "/static/app.css?v=", "/static/app.css?v=0123456789ab"])
def test_an_address_that_names_another_version_is_asked_for_again(client: FlaskClient, address: str) -> None:
    assert client.get(address).headers["Cache-Control"] == "no-cache"


def test_a_file_that_changes_has_another_address(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "page.css"
    monkeypatch.setattr(app, "static_folder", str(tmp_path))
    with app.test_request_context():
        assert app.url_for("static", filename="page.css") == "/static/page.css"
        file.write_text("a {}")
        before = app.url_for("static", filename="page.css")
        file.write_text("b { color: red }")
        assert app.url_for("static", filename="page.css") != before


@pytest.mark.parametrize("name", ["app.css", "app.js", "vendor/basecoat.css", "vendor/htmx.js", "favicon.svg"])
def test_a_file_is_sent_as_small_as_the_browser_can_read_it(client: FlaskClient, app: Flask, name: str) -> None:
    content = (Path(str(app.static_folder)) / name).read_bytes()
    plain = client.get(f"/static/{name}")
    gzipped = client.get(f"/static/{name}", headers={"Accept-Encoding": "gzip"})
    by_brotli = client.get(f"/static/{name}", headers={"Accept-Encoding": "gzip, deflate, br, zstd"})
    assert plain.data == content
    assert {answer.headers["Vary"] for answer in (plain, gzipped, by_brotli)} == {"Accept-Encoding"}
    assert len({answer.headers["ETag"] for answer in (plain, gzipped, by_brotli)}) == (1 if len(content) < 500 else 3)
    if len(content) >= 500:
        assert (gzipped.headers["Content-Encoding"], by_brotli.headers["Content-Encoding"]) == ("gzip", "br")
        assert gzip.decompress(gzipped.data) == brotli.decompress(by_brotli.data) == content


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
def test_a_file_that_the_browser_has_is_not_sent_again(client: FlaskClient, encoding: str) -> None:
    had = client.get("/static/app.css", headers={"Accept-Encoding": encoding}).headers["ETag"]
    asked = client.get("/static/app.css", headers={"Accept-Encoding": encoding, "If-None-Match": had})
    assert (asked.status_code, asked.data) == (304, b"")


def test_a_part_of_a_file_is_sent_as_it_is(client: FlaskClient) -> None:
    part = client.get("/static/app.css", headers={"Accept-Encoding": "gzip", "Range": "bytes=0-1999"})
    assert (part.status_code, len(part.data)) == (206, 2000)
    assert "Content-Encoding" not in part.headers


@pytest.mark.parametrize("path", ["/", "/login?next=/x", "/dashboard", "/deployments?q=x", "/api/projects", "/nowhere"])
def test_what_may_hold_a_secret_is_not_compressed(browser: Browser, path: str) -> None:
    """Its compressed length would tell of the CSRF token, where a request can put its own words beside it (BREACH)."""
    answered = browser.client.get(path, headers={"Accept-Encoding": "gzip, br"})
    assert "Content-Encoding" not in answered.headers
    assert answered.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/docs", "/docs/configuration", "/docs/api", "/api/openapi.json"])
def test_the_documentation_is_compressed_and_does_not_repeat_what_a_request_says(browser: Browser, path: str) -> None:
    guess = "guessed-by-somebody"
    query = dict.fromkeys(("q", "next", "csrf_token", "theme", "page"), guess)
    answered = browser.client.get(path, query_string=query, headers={"Accept-Encoding": "gzip", "Referer": guess})
    assert answered.headers["Content-Encoding"] == "gzip"
    page = gzip.decompress(answered.data).decode()
    assert guess not in page
    assert len(answered.data) < len(page) / 2


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/nothing.css?v=1", "/static/vendor", "/static/%00"])
def test_what_is_no_file_is_not_found(client: FlaskClient, path: str) -> None:
    answered = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert answered.status_code == 404
    assert answered.headers["Cache-Control"] == "no-store"
