"""38. Request-smuggling vectors on a raw socket → 400 and close, no second response."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autostack.settings import load_settings
from autostack.sites.store import open_store
from tests.sites import Answer, Proxy, publish, running_proxy

SECOND = b"GET /second.txt HTTP/1.1\r\nHost: site.localhost\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
# Each is what stands between `Host` and the empty line.
FRAMINGS = [
    b"Content-Length: 5",
    b"Content-Length: 0\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 0",
    b"Content-Length: 5, 5",
    b"Content-Length: 0, 5",
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: 0x5",
    b"Content-Length: 5 5",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length : 5",
    b"Content-Length\t: 5",
    b"Content-Length:\x0b5",
    CHUNKED,
    CHUNKED + b"\r\nContent-Length: 5",
    b"Content-Length: 5\r\n" + CHUNKED,
    b"Content-Length: 0\r\n" + CHUNKED,
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: \x0bchunked",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding\r\n: chunked",
    b" Transfer-Encoding: chunked",
    b"X: y\r\n Transfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\r\r\nTransfer-Encoding: chunked",
    b"X\0: y",
    b"X: y\0z",
    b"Host: another.localhost",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    CHUNKED + b"\r\nConnection: Transfer-Encoding",
    b": y",
    b"no colon",
]
LINES = [
    b"GET / HTTP/1.1 ",
    b"GET\t/\tHTTP/1.1",
    b"GET / HTTP/1.1 GET /second.txt HTTP/1.1",
    b"GET / HTTP/01.1",
    b"GET / HTTP/1.10",
    b"GET / http/1.1",
    b"GET / HTTP/1.1\nX: y",
    b"GET /\x01 HTTP/1.1",
    b"GET / \r\nHTTP/1.1",
    b" GET / HTTP/1.1",
    b"get / HTTP/1.1",
]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("f38")
    url = f"file://{folder}/store"
    publish(open_store(load_settings(storage_url=url)), "site", {"/index.html": b"first", "/second.txt": b"second"})
    with running_proxy(folder, {"STORAGE_URL": url, "PROXY_HEADER_TIMEOUT": 20}) as running:
        yield running


def assert_refused(answers: bytes) -> None:
    answer = Answer.parse(answers)
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert len(answer.body) == int(answer.headers["content-length"]), "a second response follows"


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"hello"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_f38_a_request_whose_end_is_in_doubt_is_the_last(proxy, framing, body):
    head = b"GET / HTTP/1.1\r\nHost: site.localhost\r\n" + framing + b"\r\n\r\n"
    assert_refused(proxy.raw(head + body + SECOND))


@pytest.mark.parametrize("line", LINES)
def test_f38_a_request_line_that_others_may_read_differently_is_refused(proxy, line):
    assert_refused(proxy.raw(line + b"\r\nHost: site.localhost\r\n\r\n" + SECOND))


def test_f38_lines_that_end_otherwise_are_refused(proxy):
    assert_refused(proxy.raw(b"GET / HTTP/1.1\nHost: site.localhost\n\n" + SECOND))


def test_f38_a_body_of_another_method_is_not_taken_for_a_request(proxy):
    post = b"POST / HTTP/1.1\r\nHost: site.localhost\r\nContent-Length: %d\r\n\r\n" % len(SECOND)
    answers = proxy.raw(post + SECOND)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert Answer.parse(answers).status == 405
