"""Requests on one connection: after each other, ahead of the answers, in pieces, and not at all."""

from __future__ import annotations

import socket
import time

from tests.integration.proxy.conftest import BIG, FILES, HEADER_TIMEOUT_S
from tests.integration.proxy.messages import GET, GET_BIG, read_answers, request
from tests.sites import Answer, publish, read_all


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
        connection.sendall(GET_BIG)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).endswith(BIG[-100:])


def test_a_visitor_who_closes_his_side_gets_all_that_he_asked_for_ahead(proxy, store):
    host = b"Host: cold.localhost"
    files = {f"/{number}.txt": f"cold {number}".encode() * 10_000 for number in range(3)}
    publish(store, "cold", files)
    with proxy.connect() as connection:
        # Held back by the kernel until the end can go with it: the proxy hears of both before it answers the third.
        asked = b"".join(request(b"GET %s HTTP/1.1" % path.encode(), host) for path in files)
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


def test_a_head_that_does_not_come_is_408(impatient):
    with impatient.connect() as connection:
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


def test_an_idle_connection_is_closed(impatient):
    with impatient.connect() as connection:
        assert read_all(connection) == b""
    with impatient.connect() as connection:
        connection.sendall(GET)
        read_answers(connection, 1)
        assert read_all(connection) == b""
