"""Before a real S3: what was read once is read once, by however many, and is still there after a restart without S3."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from autostack.settings import Settings
from autostack.sites import keys
from autostack.sites.manifest import Manifest
from autostack.sites.routes import Route, write_route
from autostack.sites.store import Store, open_store
from tests.chaos import Chaos
from tests.integration.proxy.messages import request
from tests.s3 import S3Server, s3_settings
from tests.sites import Answer, Proxy, awaited, make_file, publish, read_all, running_proxy

LARGE, MIDDLE = os.urandom(6_000_000), os.urandom(900_000)
FILES = {"/index.html": b"page" * 1000, "/large.bin": LARGE, "/middle.bin": MIDDLE, "/unseen.txt": b"unseen"}
GET_LARGE = request(b"GET /large.bin HTTP/1.1", b"Host: site.localhost", b"Connection: close")


@pytest.fixture
def chaos(s3: S3Server) -> Iterator[Chaos]:
    with Chaos(s3.port) as between:
        yield between


@pytest.fixture
def settings(s3: S3Server, chaos: Chaos) -> Settings:
    return s3_settings(s3.through(chaos.port), prefix=f"tests/{uuid.uuid4()}")


def direct(s3: S3Server, settings: Settings) -> Store:
    """Return the store with nothing in between."""
    return open_store(s3_settings(s3, prefix=str(settings.storage_url).split("/", 3)[3]))


@pytest.fixture
def route(s3: S3Server, settings: Settings) -> Route:
    return publish(direct(s3, settings), "site", FILES)


@pytest.fixture
def start(settings: Settings, route: Route, tmp_path: Path) -> Callable[..., contextlib.AbstractContextManager[Proxy]]:
    """Run a proxy before that S3; each one finds on its disk what the one before it left."""
    secret = settings.aws_secret_access_key
    environment = {
        "STORAGE_URL": settings.storage_url,
        "S3_ENDPOINT_URL": settings.s3_endpoint_url,
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else None,
        "PROXY_ANSWER_TIMEOUT": 1_700,
    }
    return lambda workers=1: running_proxy(tmp_path, {**environment, "PROXY_WORKERS": workers})


def kept_file(folder: Path, data: bytes) -> Path:
    name = hashlib.sha256(data).hexdigest()
    return folder / "proxy" / "files" / name[:2] / name


def patiently(proxy: Proxy, path: str, host: str = "site.localhost", **headers: str) -> Answer:
    """Visit as one does who is told to come again: on a busy machine the first read may outlast an answer's time."""
    for _ in range(10):
        if (answer := proxy.get(path, host, **headers)).status != 503:
            break
    return answer


@contextlib.contextmanager
def getting_large(proxy: Proxy) -> Iterator[tuple[socket.socket, bytes]]:
    """Ask for the large file as patiently; yield the connection and what came over it first."""
    with contextlib.ExitStack() as connections:
        for _ in range(10):
            connection = connections.enter_context(proxy.connect())
            connection.sendall(GET_LARGE)
            begin = connection.recv(1_000_000)
            if not begin.startswith(b"HTTP/1.1 503 "):
                break
        yield connection, begin


def test_a_proxy_that_starts_while_the_store_is_away_serves_what_was_served_before(start, chaos, route, tmp_path):
    with start() as proxy:
        assert patiently(proxy, "/").body == FILES["/index.html"]
        assert patiently(proxy, "/large.bin").body == LARGE
        routes, manifest = tmp_path / "proxy" / "routes", f"{route.deployment_id[:2]}/{route.deployment_id}"
        awaited(lambda: (routes / "site").exists() and (tmp_path / "proxy" / "files" / manifest).exists())
        awaited(lambda: all(kept_file(tmp_path, data).exists() for data in (LARGE, FILES["/index.html"])))
    chaos.refuse()
    with start() as proxy:
        assert patiently(proxy, "/").body == FILES["/index.html"]
        assert patiently(proxy, "/large.bin").body == LARGE
        assert patiently(proxy, "/large.bin", Range="bytes=5000000-5000009").body == LARGE[5_000_000:5_000_010]
        assert proxy.get("/unseen.txt").status == 503
        chaos.heal()
        awaited(lambda: proxy.get("/unseen.txt").body == b"unseen")


def test_what_lies_damaged_on_the_disk_is_read_anew(start, tmp_path):
    with start() as proxy:
        assert patiently(proxy, "/").body == FILES["/index.html"]
        assert patiently(proxy, "/large.bin").body == LARGE
        awaited(lambda: all(kept_file(tmp_path, data).exists() for data in (LARGE, FILES["/index.html"])))
    kept_file(tmp_path, FILES["/index.html"]).write_bytes(b"x" * 4000)
    kept_file(tmp_path, LARGE).write_bytes(b"cut off")
    for path in (tmp_path / "proxy" / "routes").iterdir():
        path.write_bytes(b"\0" * 100)
    with start() as proxy:
        assert patiently(proxy, "/").body == FILES["/index.html"]
        assert patiently(proxy, "/large.bin").body == LARGE


# Each request may look up the route again: many of them do not amount to the file.
@pytest.mark.parametrize(
    "path, data, visitors, others", [("/large.bin", LARGE, 40, 100_000), ("/middle.bin", MIDDLE, 300, 450_000)]
)
def test_a_cold_file_is_read_once_for_all_who_come(start, chaos, path, data, visitors, others):
    with start() as proxy, ThreadPoolExecutor(visitors) as crowd:
        answers = list(crowd.map(lambda _: patiently(proxy, path), range(visitors)))
        assert {answer.status for answer in answers} == {200}
        assert all(answer.body == data for answer in answers)
        assert chaos.bytes_passed < len(data) + others


# Of several that are cold: on a busy machine, who waits for another's read may lose his patience and read for himself.
SEVERAL = 3


def is_read_once(chaos: Chaos, size: int, read: Callable[[], None]) -> bool:
    """Read something of this size, in many ways; tell whether it came from the store once."""
    before = chaos.bytes_passed
    read()
    return chaos.bytes_passed - before < size + 100_000


@pytest.mark.parametrize("size", [900_000, 6_000_000])
def test_a_cold_file_is_read_once_by_all_workers_of_a_machine(start, chaos, s3, settings, size):
    cold = [os.urandom(size) for _ in range(SEVERAL)]
    publish(direct(s3, settings), "cold", {f"/{number}.bin": data for number, data in enumerate(cold)})
    with start(workers=3) as proxy, ThreadPoolExecutor(40) as crowd:

        def read(number: int) -> None:
            answers = crowd.map(lambda _: patiently(proxy, f"/{number}.bin", "cold.localhost"), range(120))
            assert all(answer.body == cold[number] for answer in answers)

        assert any(is_read_once(chaos, size, partial(read, number)) for number in range(SEVERAL))


def test_a_cold_list_of_files_is_read_once_by_all_workers_of_a_machine(start, chaos, s3, settings):
    store = direct(s3, settings)
    sizes = [publish_list(store, f"many-{number}") for number in range(SEVERAL)]
    with start(workers=3) as proxy, ThreadPoolExecutor(40) as crowd:

        def read(number: int) -> None:
            answers = crowd.map(lambda _: patiently(proxy, "/", f"many-{number}.localhost"), range(80))
            assert {answer.body for answer in answers} == {b"many"}

        assert any(is_read_once(chaos, sizes[number], partial(read, number)) for number in range(SEVERAL))


def publish_list(store: Store, host: str) -> int:
    """Publish a site with a long list of files; return the list's size."""
    project, id = str(uuid.uuid4()), str(uuid.uuid4())
    page, blobs = make_file("/index.html", b"many")
    listed = Manifest(project, id, {"/index.html": page, **{f"/{number}.html": page for number in range(5_000)}})
    for sha256, content in blobs.items():
        store.put(keys.blob(project, sha256), content)
    store.put(keys.manifest(project, id), listed.to_json())
    assert write_route(store, Route(host, 1, project, id))
    return len(listed.to_json())


def test_who_comes_while_a_file_is_read_joins_in(start, chaos):
    with start() as proxy:
        chaos.stall(3_000_000)
        with getting_large(proxy) as (first, begin):
            awaited(lambda: chaos.bytes_passed >= 3_000_000)
            with getting_large(proxy) as (second, joined):
                assert joined.startswith(b"HTTP/1.1 200 OK\r\n")
                threading.Timer(0.1, chaos.heal).start()
                assert Answer.parse(begin + read_all(first)).body == LARGE
                assert Answer.parse(joined + read_all(second)).body == LARGE
        # A route may have been looked up again meanwhile; the file was read once.
        assert chaos.bytes_passed < len(LARGE) + 100_000


def test_when_the_last_visitor_leaves_the_reading_ends(start, chaos, tmp_path):
    with start() as proxy:
        chaos.stall(3_000_000)
        with proxy.connect() as visitor:
            visitor.sendall(GET_LARGE)
            assert visitor.recv(1000)
        awaited(lambda: not list((tmp_path / "proxy" / "files").glob("draft-*")))
        assert chaos.bytes_passed < len(LARGE)
        chaos.heal()
        assert patiently(proxy, "/large.bin").body == LARGE
