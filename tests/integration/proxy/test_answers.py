"""What the visitor of a site gets, and of which: files, variants, parts, and the latest deployment."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import brotli
import pytest
import zstandard

from autostack.sites import keys
from autostack.sites.manifest import Manifest
from autostack.sites.routes import Route, write_route
from tests.integration.proxy.conftest import BIG, FILES
from tests.sites import make_file, publish


def test_a_page_is_served_with_a_date_and_its_headers(proxy):
    answer = proxy.get("/")
    assert (answer.status, answer.body) == (200, FILES["/index.html"])
    assert answer.headers["date"].endswith(" GMT")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-robots-tag" not in answer.headers
    assert proxy.get("/", host="site-git-main.localhost").headers["x-robots-tag"] == "noindex"


@pytest.mark.parametrize("lost", ["manifest", "file"])
def test_a_preview_that_cannot_be_read_is_not_to_be_indexed_either(proxy, store, lost):
    for label, kind in ((f"lost-{lost}", "production"), (f"lost-{lost}-git-main", "branch")):
        route = publish(store, label, {"/a.txt": label.encode()}, kind=kind)
        sha256 = hashlib.sha256(label.encode()).hexdigest()
        manifest, file = keys.manifest(route.project_id, route.deployment_id), keys.blob(route.project_id, sha256)
        store.delete(manifest if lost == "manifest" else file)
        answer = proxy.get("/a.txt", host=f"{label}.localhost")
        robots = "noindex" if kind == "branch" else None
        assert (answer.status, answer.headers.get("x-robots-tag")) == (503, robots)


@pytest.mark.parametrize("path", ["/", "/plain.txt", "/middle.bin", "/empty.txt"])
@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=2-3"}, {"Range": "bytes=-2"}, {"Accept_Encoding": "br"}])
def test_a_file_in_a_pack_is_answered_as_one_that_is_a_blob_of_its_own(proxy, path, asked):
    own, packed = (proxy.get(path, host=f"{label}.localhost", **asked) for label in ("site", "packed"))
    assert (packed.status, packed.body) == (own.status, own.body)
    for name in ("etag", "content-length", "content-range", "content-type", "content-encoding"):
        assert packed.headers.get(name) == own.headers.get(name)


def test_the_compressed_variant_is_what_it_says(proxy):
    assert brotli.decompress(proxy.get("/", Accept_Encoding="br").body) == FILES["/index.html"]
    answer = proxy.get("/", Accept_Encoding="gzip, br, zstd")
    assert answer.headers["content-encoding"] == "zstd"
    assert zstandard.decompress(answer.body) == FILES["/index.html"]


def test_a_large_file_is_streamed_whole_and_in_part(proxy):
    assert proxy.get("/big.bin").body == BIG
    answer = proxy.get("/big.bin", Range="bytes=1000000-7654321")
    assert answer.status == 206
    assert answer.body == BIG[1_000_000:7_654_322]
    assert proxy.get("/big.bin", Range="bytes=-5").body == BIG[-5:]


def test_head_has_no_body_and_the_same_headers(proxy):
    for target in ("/", "/big.bin", "/nothing", "/about.html"):
        get, head = proxy.get(target), proxy.get(target, method="HEAD")
        del get.headers["date"], head.headers["date"]
        assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


def test_what_the_visitor_has_already_is_not_sent_again(proxy):
    etag = proxy.get("/plain.txt").headers["etag"]
    answer = proxy.get("/plain.txt", If_None_Match=etag)
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize(
    "host", ["nobody.localhost", "localhost", "a.site.localhost", "site.example.com", "[::1]", "-.localhost"]
)
def test_an_unknown_host_gets_the_platforms_page(proxy, host):
    answer = proxy.get("/", host=host)
    assert answer.status == 404
    assert answer.body.startswith(b"<!doctype html>")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["SITE.LOCALHOST", "site.localhost.", "site.localhost:8080"])
def test_a_host_is_the_same_in_each_of_its_spellings(proxy, host):
    assert proxy.get("/plain.txt", host=host).body == b"plain"


def test_the_address_in_the_request_line_counts_more_than_the_host_header(proxy):
    assert proxy.get("http://site.localhost/plain.txt", host="nobody.localhost").body == b"plain"


def test_health_is_answered_on_any_host(proxy):
    assert proxy.get("/.autostack/healthz", host="whatever").body == b"ok\n"
    assert proxy.get("/.autostack/else").status == 404


def test_a_removed_host_is_unknown(proxy, store):
    route = publish(store, "gone", {"/index.html": b"old"})
    assert proxy.get("/", host="gone.localhost").body == b"old"
    write_route(store, Route("gone", 2, route.project_id, route.deployment_id, removed=True))
    assert proxy.get("/", host="gone.localhost").status == 404


def test_a_new_deployment_is_seen_without_any_announcement(proxy, store):
    first = publish(store, "busy", {"/index.html": b"1"})
    for generation in range(2, 6):
        assert proxy.get("/", host="busy.localhost").body == str(generation - 1).encode()
        publish(store, "busy", {"/index.html": str(generation).encode()}, generation=generation)
    assert proxy.get("/", host="busy.localhost").body == b"5"
    store.put(keys.route("busy"), first.to_json())
    assert proxy.get("/", host="busy.localhost").body == b"5", "a lower generation is not believed"


def test_a_manifest_that_is_gone_is_503_and_not_another_site(proxy, store):
    route = publish(store, "damaged", {"/index.html": b"1"})
    store.delete(keys.manifest(route.project_id, route.deployment_id))
    assert proxy.get("/", host="damaged.localhost").status == 503


def test_a_file_that_is_damaged_in_the_manifest_is_503_each_time_and_the_others_are_served(proxy, store):
    route = publish(store, "half", {"/index.html": b"whole", "/bad.txt": b"bad"})
    key = keys.manifest(route.project_id, route.deployment_id)
    store.put(key, store.get(key).replace(b"text/plain", b"text\\nplain"))
    for _ in range(2):
        assert proxy.get("/bad.txt", host="half.localhost").status == 503
        assert proxy.get("/", host="half.localhost").body == b"whole"


def test_the_largest_manifest_is_read_once(proxy, store):
    route = publish(store, "large", {"/index.html": b"home"})
    key = keys.manifest(route.project_id, route.deployment_id)
    manifest = Manifest.from_json(store.get(key))
    page = make_file("/index.html", b"home", ("br", "zstd"))[0]
    files = manifest.files | {f"/{'folder' * 10}/{number}.html": page for number in range(20_000)}
    store.put(key, replace(manifest, files=files).to_json())
    assert proxy.get("/", host="large.localhost").body == b"home"
    store.delete(key)
    assert proxy.get("/", host="large.localhost").body == b"home"
