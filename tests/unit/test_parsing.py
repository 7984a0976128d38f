"""From bytes to requests: however they are cut into pieces, and however often they repeat, they mean the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from autostack.proxy.messages import Request
from autostack.proxy.parsing import RequestParser

HEADERS = b"Host: site.localhost\r\nAccept: */*\r\n\r\n"
TARGETS = [
    b"/",
    b"/a?b=c",
    b"/%20",
    b"/a#b",
    b"/\xff",
    b"/ ",
    b"/\x01",
    b"x",
    b"/" + b"x" * 9000,
    b"http://b.localhost/",
]
LINES = [
    b"GET %s HTTP/1.1",
    b"HEAD %s HTTP/1.1",
    b"GET %s HTTP/1.0",
    b"GET %s HTTP/1.1 ",
    b"GET  %s HTTP/1.1",
    b"POST %s HTTP/1.1",
]
REQUESTS = [line % target + b"\r\n" + HEADERS for line in LINES for target in TARGETS] + [
    b"GET / HTTP/1.1\r\nHost: other.localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: other.localhost\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: site.localhost\r\nContent-Length: 3\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HEADERS + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HEADERS + b"GET /2 HTTP/1.1\r\n" + HEADERS,
    b"GET / HTTP/1.1\r\nHost: site.localhost\r\nX: ",
]
PLAIN = [REQUESTS[0], REQUESTS[1]]


def parsed(pieces: list[bytes]) -> list[Request]:
    received: list[Request] = []
    parser = RequestParser(received.append)
    for piece in pieces:
        parser.feed(piece)
    return received


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PLAIN) | st.sampled_from(REQUESTS), max_size=8))
def test_what_repeats_is_read_as_if_it_came_for_the_first_time(requests):
    whole = b"".join(requests)
    by_request = parsed(requests)
    assert by_request == parsed([whole])
    assert by_request == parsed([whole[start : start + 1] for start in range(len(whole))])


def test_the_same_headers_with_another_path_are_another_request():
    first, second, third = parsed([PLAIN[0], PLAIN[1], b"GET /x HTTP/1.1\r\n" + HEADERS])
    assert [request.path for request in (first, second, third)] == [b"/", b"/a", b"/x"]
    assert [request.query for request in (first, second, third)] == [b"", b"b=c", b""]
    assert first.headers == third.headers == {b"host": b"site.localhost", b"accept": b"*/*"}


def test_the_middle_of_a_head_is_not_taken_for_a_request_line():
    begun = b"GET /1 HTTP/1.1\r\nHost: site.localhost\r\nX: "
    rest = b"GET /2 HTTP/1.1\r\nAccept: */*\r\n\r\n"
    assert [request.path for request in parsed([begun, rest, begun, rest])] == [b"/1", b"/1"]
    joined = b"GET /3 HTTP/1.1\r\n" + HEADERS + b"GET /4 HTTP/1.1\r\n" + HEADERS
    assert [request.path for request in parsed([joined, joined])] == [b"/3", b"/4", b"/3", b"/4"]


def test_repeated_headers_are_joined_with_commas_and_cookies_with_semicolons():
    head = b"GET / HTTP/1.1\r\nHost: a.localhost\r\nCookie: a=1\r\nAccept: b\r\nCookie: b=2\r\nAccept: c\r\n\r\n"
    (request,) = parsed([head])
    assert request.headers == {b"host": b"a.localhost", b"cookie": b"a=1; b=2", b"accept": b"b, c"}
