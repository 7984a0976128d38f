"""39. `%2e%2e`, `%00`, `//`, `;`, backslash, overlong UTF-8 in paths → never leaves the site."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from autostack.settings import load_settings
from autostack.sites.store import open_store
from tests.sites import Answer, Proxy, publish, running_proxy

SECRET = b"nobody may read this"
DOTS = [b"..", b"%2e%2e", b".%2E", b"%2e.", b"%c0%ae%c0%ae", b"%e0%80%ae%e0%80%ae", b"..;", b"%252e%252e", b"..%00"]
SLASHES = [b"/", b"//", b"%2f", b"\\", b"%5c", b"%c0%af", b"/;/", b"/./"]
TARGETS = [b"secret.txt", b"etc/passwd", b"routes/other.json", b"projects"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("f39")
    url = f"file://{folder}/store"
    store = open_store(load_settings(storage_url=url))
    publish(store, "site", {"/index.html": b"home", "/a/b.txt": b"b"}, fallback="none")
    publish(store, "other", {"/secret.txt": SECRET})
    for place in (folder, folder / "store", folder / "store" / "routes"):
        (place / "secret.txt").write_bytes(SECRET)
    with running_proxy(folder, {"STORAGE_URL": url}) as running:
        yield running


def ask(proxy: Proxy, target: bytes) -> Answer:
    return Answer.parse(proxy.raw(b"GET " + target + b" HTTP/1.1\r\nHost: site.localhost\r\nConnection: close\r\n\r\n"))


@pytest.mark.parametrize("dots", DOTS)
def test_f39_no_spelling_of_dots_and_slashes_leaves_the_site(proxy, dots):
    for slash, target, depth in itertools.product(SLASHES, TARGETS, (1, 4)):
        path = b"/a" + (slash + dots) * depth + slash + target
        answer = ask(proxy, path)
        assert answer.status in (400, 404), path
        assert SECRET not in answer.body
        assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "target, status",
    [
        (b"//secret.txt", 404),
        (b"/\\secret.txt", 404),
        (b"/%00", 400),
        (b"/a/b.txt%00.html", 400),
        (b"/a/b.txt;x=1", 404),
        (b"/a//b.txt", 404),
        (b"/a/./b.txt", 400),
        (b"/a/c/../b.txt", 400),
        (b"/%ff", 400),
        (b"//evil.example/..", 400),
        (b"http://site.localhost/../secret.txt", 400),
        (b"http://site.localhost/a/b.txt", 200),
        (b"/a%2Fb.txt", 200),
    ],
)
def test_f39_odd_paths_have_one_plain_answer(proxy, target, status):
    answer = ask(proxy, target)
    assert answer.status == status
    assert SECRET not in answer.body


@pytest.mark.parametrize("target", [b"//evil.example/", b"/\\evil.example/", b"/%2fevil.example/", b"/%5cevil.example"])
def test_f39_no_redirect_leads_to_another_host(proxy, target):
    assert "location" not in ask(proxy, target).headers
