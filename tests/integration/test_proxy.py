"""The proxy over real sockets: a process of its own before a store in a folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from autostack.settings import load_settings
from autostack.sites import keys
from autostack.sites.manifest import Manifest
from autostack.sites.routes import Route, write_route
from autostack.sites.store import Store, open_store
from tests.sites import Answer, Proxy, make_file, publish, read_all, running_proxy

HEADER_TIMEOUT_S = 1
IDLE_TIMEOUT_S = 3
BIG = bytes(range(256)) * 40_000
GET = b"GET /plain.txt HTTP/1.1\r\nHost: site.localhost\r\n\r\n"
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
        "PROXY_HEADER_TIMEOUT": HEADER_TIMEOUT_S,
        "PROXY_IDLE_TIMEOUT": IDLE_TIMEOUT_S,
    }


@pytest.fixture(scope="module")
def store(environment: dict[str, object]) -> Store:
    return open_store(load_settings(storage_url=environment["STORAGE_URL"]))


@pytest.fixture(scope="module")
def proxy(folder: Path, environment: dict[str, object], store: Store) -> Iterator[Proxy]:
    publish(store, "site", FILES, encodings=("br", "zstd"))
    publish(store, "site-git-main", {"/index.html": b"preview"}, kind="branch")
    with running_proxy(folder, environment) as running:
        yield running


def read_answers(connection: socket.socket, count: int) -> list[Answer]:
    """Read as many responses with a Content-Length as were asked for."""
    data, answers = b"", []
    while len(answers) < count:
        head, mark, rest = data.partition(b"\r\n\r\n")
        if mark:
            answer = Answer.parse(head + mark)
            size = int(answer.headers.get("content-length", 0))
            if len(rest) >= size:
                answers.append(Answer(answer.status, answer.headers, rest[:size]))
                data = rest[size:]
                continue
        part = connection.recv(65536)
        assert part, f"closed after {len(answers)} of {count}"
        data += part
    assert data == b""
    return answers


def test_a_page_is_served_with_a_date_and_its_headers(proxy):
    answer = proxy.get("/")
    assert (answer.status, answer.body) == (200, FILES["/index.html"])
    assert answer.headers["date"].endswith(" GMT")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-robots-tag" not in answer.headers
    assert proxy.get("/", host="site-git-main.localhost").headers["x-robots-tag"] == "noindex"


def test_the_compressed_variant_is_what_it_says(proxy):
    import brotli
    import zstandard

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


def test_one_connection_answers_many_requests(proxy):
    with proxy.connect() as connection:
        for _ in range(20):
            connection.sendall(GET)
            (answer,) = read_answers(connection, 1)
            assert answer.body == b"plain"
            assert "connection" not in answer.headers


def test_requests_sent_ahead_are_answered_in_their_order(proxy):
    paths = ["/plain.txt", "/big.bin", "/nothing", "/", "/middle.bin", "/empty.txt", "/plain.txt"] * 20
    requests = b"".join(f"GET {path} HTTP/1.1\r\nHost: site.localhost\r\n\r\n".encode() for path in paths)
    with proxy.connect() as connection:
        connection.sendall(requests)
        answers = read_answers(connection, len(paths))
    expected = {"/": FILES["/index.html"], "/nothing": b"not here"} | FILES
    assert [answer.body for answer in answers] == [expected[path] for path in paths]


def test_a_request_may_come_byte_by_byte(proxy):
    with proxy.connect() as connection:
        for byte in GET:
            connection.sendall(bytes([byte]))
        assert read_answers(connection, 1)[0].body == b"plain"


def test_a_visitor_who_closes_his_side_still_gets_the_answer(proxy):
    with proxy.connect() as connection:
        connection.sendall(b"GET /big.bin HTTP/1.1\r\nHost: site.localhost\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).endswith(BIG[-100:])


def test_a_visitor_who_closes_his_side_gets_all_that_he_asked_for_ahead(proxy, store):
    files = {f"/{number}.txt": f"cold {number}".encode() * 10_000 for number in range(3)}
    publish(store, "cold", files)
    with proxy.connect() as connection:
        # Held back by the kernel until the end can go with it: the proxy hears of both before it answers the third.
        asked = b"".join(request(b"GET %s HTTP/1.1" % path.encode(), COLD) for path in files)
        connection.sendall(asked, socket.MSG_MORE)
        connection.shutdown(socket.SHUT_WR)
        answers = read_answers(connection, len(files))
        assert read_all(connection) == b""
    assert [answer.body for answer in answers] == list(files.values())
    assert [answer.headers.get("connection") for answer in answers] == [None, None, "close"]


def test_http_1_0_is_closed_unless_it_asks_to_be_kept(proxy):
    answer = Answer.parse(proxy.raw(b"GET /plain.txt HTTP/1.0\r\nHost: site.localhost\r\n\r\n"))
    assert (answer.body, answer.headers["connection"]) == (b"plain", "close")
    with proxy.connect() as connection:
        connection.sendall(b"GET /plain.txt HTTP/1.0\r\nHost: site.localhost\r\nConnection: keep-alive\r\n\r\n")
        assert read_answers(connection, 1)[0].headers["connection"] == "keep-alive"
        connection.sendall(GET)
        assert read_answers(connection, 1)[0].body == b"plain"
    assert Answer.parse(proxy.raw(b"GET / HTTP/1.0\r\n\r\n")).status == 404


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *headers, b"", body])


HOST = b"Host: site.localhost"
COLD = b"Host: cold.localhost"


@pytest.mark.parametrize(
    "data, status",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (request(b"GET / HTTP/1.1"), 400),
        (request(b"GET / HTTP/1.1", HOST, HOST), 400),
        (request(b"GET / HTTP/1.1", b"Host: a b"), 400),
        (request(b"GET / HTTP/1.1", b"Host: site.localhost/../x"), 400),
        (request(b"GET / HTTP/1.1", b"Host: user@site.localhost"), 400),
        (request(b"GET / HTTP/1.1", b"Host: site.localhost\x00"), 400),
        (request(b"GET x HTTP/1.1", HOST), 400),
        (request(b"GET http:///x HTTP/1.1", HOST), 400),
        (request(b"GET / HTTP/1.1", HOST, b"A : b"), 400),
        (request(b"GET / HTTP/1.1", HOST, b"A: b", b" c"), 400),
        (request(b"GET / HTTP/1.1", HOST, b"A: b\nc: d"), 400),
        (request(b"GET / HTTP/1.1", HOST, b"Content-Length: 5", body=b"hello"), 400),
        (request(b"GET / HTTP/1.1", HOST, b"Content-Length: -1"), 400),
        (request(b"GET / HTTP/1.1", HOST, b"Content-Length: 1", b"Content-Length: 2", body=b"a"), 400),
        (request(b"GET / HTTP/1.1", HOST, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (request(b"GET / HTTP/1.1", HOST, b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"0\r\n\r\n"), 400),
        (request(b"GET / HTTP/1.1", HOST, b"Expect: 100-continue", b"Content-Length: 5"), 400),
        (request(b"POST / HTTP/1.1", HOST, b"Content-Length: 1000000"), 405),
        (request(b"POST / HTTP/1.1", HOST), 405),
        (request(b"OPTIONS * HTTP/1.1", HOST), 405),
        (request(b"CONNECT site.localhost:443 HTTP/1.1", HOST), 405),
        (request(b"TRACE / HTTP/1.1", HOST), 405),
        (request(b"GET / HTTP/2.0", HOST), 505),
        (request(b"GET /" + b"x" * 9000 + b" HTTP/1.1", HOST), 414),
        (request(b"GET / HTTP/1.1", HOST, b"A: " + b"x" * 40_000), 431),
        (request(b"GET / HTTP/1.1", HOST, *[b"A: b"] * 101), 431),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 2_000_000, 431),
    ],
)
def test_what_is_malformed_or_too_much_is_refused_and_closed(proxy, data, status):
    answers = proxy.raw(data + GET, wait_s=8)
    assert answers.startswith(b"HTTP/1.1 %d " % status)
    answer = Answer.parse(answers)
    assert answer.headers["connection"] == "close"
    assert len(answer.body) == int(answer.headers["content-length"]), "nothing follows the refusal"
    assert ("allow" in answer.headers) == (status == 405)


def test_requests_before_a_malformed_one_are_answered(proxy):
    data = proxy.raw(GET + GET + b"nonsense\r\n\r\n" + GET)
    assert data.count(b"HTTP/1.1 200 OK") == 2
    assert data.count(b"HTTP/1.1 400 Bad Request") == 1


def test_an_upgrade_is_not_taken_up(proxy):
    offer = request(b"GET /plain.txt HTTP/1.1", HOST, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c")
    answer = Answer.parse(proxy.raw(offer + GET))
    assert (answer.status, answer.body) == (200, b"plain")


def test_a_head_that_does_not_come_is_408(proxy):
    with proxy.connect() as connection:
        connection.sendall(GET)
        read_answers(connection, 1)
        begun = time.monotonic()
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for number in range(100):
            try:
                connection.sendall(b"X-%d: y\r\n" % number)
            except OSError:
                break
            time.sleep(0.1)
            if time.monotonic() - begun > HEADER_TIMEOUT_S + 1:
                break
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed(proxy):
    with proxy.connect() as connection:
        assert read_all(connection) == b""
    with proxy.connect() as connection:
        connection.sendall(GET)
        read_answers(connection, 1)
        assert read_all(connection) == b""


def test_a_reader_who_stands_still_is_dropped_and_a_slow_one_is_not(proxy):
    ask = b"GET /big.bin HTTP/1.1\r\nHost: site.localhost\r\n\r\n"
    with proxy.connect() as still, proxy.connect() as slow:
        still.sendall(ask * 5)
        slow.sendall(ask * 5)
        end = time.monotonic() + IDLE_TIMEOUT_S * 2 + 1
        received = 0
        while time.monotonic() < end:
            received += len(slow.recv(20_000))
            time.sleep(0.05)
        while received < len(BIG) * 5:
            part = slow.recv(1_000_000)
            assert part, "the slow one was dropped, too"
            received += len(part)
        assert len(read_all(still)) < len(BIG) * 5


def test_a_slow_reader_takes_no_memory_and_holds_up_no_one(proxy):
    process = psutil.Process(proxy.process.pid)
    readers = [proxy.connect() for _ in range(20)]
    for reader in readers:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        reader.sendall(b"GET /big.bin HTTP/1.1\r\nHost: site.localhost\r\n\r\n" * 5)
    before = process.memory_info().rss
    assert proxy.get("/plain.txt").body == b"plain"
    time.sleep(0.5)
    assert process.memory_info().rss - before < 60_000_000
    for reader in readers:
        reader.close()


def test_long_headers_paths_and_hosts_that_never_repeat_are_not_kept(proxy):
    process = psutil.Process(proxy.process.pid)

    def send(numbers: range) -> None:
        with proxy.connect() as connection:
            for number in numbers:
                name = b"%07d" % number
                long = b",".join(b"a%d;q=0.%d" % (part, number % 1000) for part in range(900))
                headers = (b"%s: %s-%s" % (field, name, long) for field in (b"Accept", b"Accept-Encoding"))
                connection.sendall(request(b"GET /%s%s HTTP/1.1" % (name, b"x" * 8000), HOST, *headers))
                assert read_answers(connection, 1)[0].status == 404
                host = b"Host: " + name + b"x" * 20_000
                assert proxy.raw(request(b"GET / HTTP/1.1", host)).startswith(b"HTTP/1.1 400 ")

    send(range(50))
    before = process.memory_info().rss
    send(range(50, 650))
    assert process.memory_info().rss - before < 8_000_000


def hold(proxy: Proxy, count: int, data: bytes) -> list[socket.socket]:
    """Open connections that send this and then do nothing."""
    held = []
    for _ in range(count):
        held.append(proxy.connect())
        held[-1].sendall(data)
    return held


@pytest.mark.parametrize("data", [b"", GET, b"GET / HTTP/1.1\r\nHost: site"])
def test_idle_connections_without_number_keep_no_one_out(folder, environment, proxy, data):
    limits = ["prlimit", "--nofile=64:300"]
    patient = {**environment, "PROXY_IDLE_TIMEOUT": 60, "PROXY_HEADER_TIMEOUT": 60}
    with running_proxy(folder, patient, limits) as other, other.connect() as busy:
        busy.sendall(request(b"GET /big.bin HTTP/1.1", HOST))
        begin = busy.recv(1000)
        held = hold(other, 400, data)
        for _ in range(20):
            assert other.get("/plain.txt").body == b"plain"
        assert psutil.Process(other.process.pid).num_fds() < 250
        for connection in held:
            connection.close()
        busy.shutdown(socket.SHUT_WR)
        assert (begin + read_all(busy)).endswith(BIG[-1000:]), "who waits for an answer is not idle"


def test_visitors_who_leave_in_mid_stream_leave_nothing_behind(proxy):
    process = psutil.Process(proxy.process.pid)
    proxy.get("/big.bin")
    before = process.num_fds()
    for _ in range(100):
        with proxy.connect() as connection:
            connection.sendall(b"GET /big.bin HTTP/1.1\r\nHost: site.localhost\r\n\r\n")
            connection.recv(1000)
    deadline = time.monotonic() + 5
    while process.num_fds() > before + 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.num_fds() <= before + 2


def test_going_down_finishes_what_is_under_way_and_takes_nothing_new(folder, environment, store, proxy):
    with running_proxy(folder, environment) as other, other.connect() as busy, other.connect() as idle:
        idle.sendall(GET)
        read_answers(idle, 1)
        busy.sendall(b"GET /big.bin HTTP/1.1\r\nHost: site.localhost\r\n\r\n")
        data = busy.recv(1000)
        other.process.send_signal(signal.SIGTERM)
        assert read_all(idle) == b""
        with pytest.raises(OSError, match="refused"):
            other.connect()
        data += read_all(busy)
        assert data.endswith(BIG[-1000:])
        assert len(data) > len(BIG)
        assert other.process.wait(timeout=10) == 0


def test_going_down_answers_what_was_asked_for_ahead(folder, environment, proxy):
    with running_proxy(folder, environment) as other, other.connect() as connection:
        connection.sendall(request(b"GET /big.bin HTTP/1.1", HOST) * 3)
        data = connection.recv(1000)
        other.process.send_signal(signal.SIGTERM)
        data += read_all(connection)
        assert data.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert data.endswith(BIG[-1000:])
        assert other.process.wait(timeout=10) == 0


def test_a_taken_port_is_one_clear_line(proxy, environment):
    command = [sys.executable, "proxy.py"]

    given = {**os.environ, **{k: str(v) for k, v in environment.items()}, "PROXY_PORT": str(proxy.port)}
    ended = subprocess.run(command, env=given, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "cannot listen on 127.0.0.1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_proxy_loads_neither_flask_nor_sqlalchemy():
    program = (
        "import sys, autostack.proxy, autostack.proxy.handler\n"
        "print([name for name in ('flask', 'sqlalchemy', 'boto3', 'rq') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
