"""What is no request, or too much of one, is refused, and nothing that follows it is believed."""

from __future__ import annotations

import pytest

from tests.integration.proxy.messages import GET, HOST, request
from tests.sites import Answer


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
    answers = proxy.raw(data + GET)
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
