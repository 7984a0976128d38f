"""A proxy of the module's own: a process before a store in a folder, with one site and its preview."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autostack.settings import load_settings
from autostack.sites.manifest import MAX_PACKED_BYTES
from autostack.sites.store import Store, open_store
from tests.sites import Proxy, publish, running_proxy

# Those of the proxy that is not patient; the others' are longer than any test may be held up.
HEADER_TIMEOUT_S = 3
IDLE_TIMEOUT_S = 4
# The address of a proxy in front of this one; who comes from another is a visitor.
HOP = "127.0.0.2"
BIG = bytes(range(256)) * 40_000
FILES = {
    "/index.html": b"<h1>home</h1>" * 20,
    "/plain.txt": b"plain",
    "/about.html": b"about",
    "/404.html": b"not here",
    "/big.bin": BIG,
    "/middle.bin": b"m" * 500_000,
    "/empty.txt": b"",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proxy")


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, object]:
    return {
        "STORAGE_URL": f"file://{folder}/store",
        "PROXY_HEADER_TIMEOUT": 60,
        "PROXY_IDLE_TIMEOUT": 60,
        "PROXY_DRAIN_TIMEOUT": 300,
        "COUNTRY_HEADER": "X-Country",
        "PROXY_TRUSTED": HOP,
        "REWRITE_HOSTS_ALLOWED": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def store(environment: dict[str, object]) -> Store:
    return open_store(load_settings(storage_url=environment["STORAGE_URL"]))


@pytest.fixture(scope="module")
def proxy(folder: Path, environment: dict[str, object], store: Store) -> Iterator[Proxy]:
    publish(store, "site", FILES, encodings=("br", "zstd"))
    small = {path: data for path, data in FILES.items() if len(data) < MAX_PACKED_BYTES}
    publish(store, "packed", small, encodings=("br",), packed=True)
    publish(store, "site-git-main", {"/index.html": b"preview"}, kind="branch")
    with running_proxy(folder, environment) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(folder: Path, environment: dict[str, object], proxy: Proxy) -> Iterator[Proxy]:
    """One that soon gives up visitors who do nothing."""
    limits = {"PROXY_HEADER_TIMEOUT": HEADER_TIMEOUT_S, "PROXY_IDLE_TIMEOUT": IDLE_TIMEOUT_S}
    with running_proxy(folder, {**environment, **limits}) as running:
        yield running
