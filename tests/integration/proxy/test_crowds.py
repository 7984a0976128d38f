"""Visitors who are slow, many, idle, or gone: they cost little, and keep no one out."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from autostack.sites.rules.compile import compile_rules
from tests.integration.proxy.conftest import BIG, IDLE_TIMEOUT_S
from tests.integration.proxy.messages import GET, GET_BIG, HOST, read_answers, request
from tests.peers.origin import serve_origin
from tests.sites import Proxy, awaited, publish, read_all, running_proxy


def test_a_reader_who_stands_still_is_dropped_and_a_slow_one_is_not(impatient):
    with impatient.connect() as still, impatient.connect() as slow:
        still.sendall(GET_BIG * 5)
        slow.sendall(GET_BIG * 5)
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
    process = proxy.worker
    readers = [proxy.connect() for _ in range(20)]
    for reader in readers:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        reader.sendall(GET_BIG * 5)
    before = process.memory_info().rss
    assert proxy.get("/plain.txt").body == b"plain"
    time.sleep(0.5)
    assert process.memory_info().rss - before < 60_000_000
    for reader in readers:
        reader.close()


def test_requests_sent_ahead_without_number_take_little_memory_and_are_all_answered(folder, environment, proxy, store):
    count, visitors = 5_000, 30
    # The shortest there are, behind one that nobody answers yet.
    ahead = request(b"GET /slow HTTP/1.1", b"Host: ahead.localhost") + request(b"GET / HTTP/1.1", b"Host:a") * count
    with serve_origin() as origin, running_proxy(folder, environment) as other, contextlib.ExitStack() as stack:
        rules = compile_rules({"_redirects": f"/slow {origin.url}/slow 200"}).rules
        publish(store, "ahead", {"/index.html": b"x"}, rules=rules)
        process = other.worker
        assert other.get("/plain.txt").body == b"plain"
        before = process.memory_info().rss
        waiting = [stack.enter_context(other.connect()) for _ in range(visitors)]
        threads = [threading.Thread(target=send_all, args=(visitor, ahead)) for visitor in waiting]
        for thread in threads:
            thread.start()
        awaited(lambda: len(origin.asked) == visitors)
        assert other.get("/plain.txt").body == b"plain"
        assert process.memory_info().rss - before < 20_000_000
        origin.release.set()
        for visitor in waiting[1:]:
            visitor.shutdown(socket.SHUT_RDWR)
        answers = read_answers(waiting[0], count + 1)
        assert [answers[0].body, *{answer.status for answer in answers[1:]}] == [b"at last", 404]
        for thread in threads:
            thread.join()


def send_all(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


def test_long_headers_paths_and_hosts_that_never_repeat_are_not_kept(proxy):
    process = proxy.worker

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


def hold(proxy: Proxy, count: int, data: bytes, answers: int = 0) -> list[socket.socket]:
    """Open connections that send this, one after the other read so many answers, and then do nothing."""
    held = []
    for _ in range(count):
        held.append(proxy.connect())
        held[-1].sendall(data)
        read_answers(held[-1], answers)
    return held


def lets_newcomers_in(proxy: Proxy) -> None:
    """Wait until the crowd reads nothing any more: before that, it is as busy as anybody."""
    one = request(b"GET /plain.txt HTTP/1.1", HOST, b"Connection: close")
    awaited(lambda: proxy.raw(one) != b"")


@pytest.mark.parametrize("data", [b"", GET, b"GET / HTTP/1.1\r\nHost: site"])
def test_idle_connections_without_number_keep_no_one_out(folder, environment, proxy, data):
    limits = ["prlimit", "--nofile=64:300"]
    with running_proxy(folder, environment, limits) as other, other.connect() as busy:
        busy.sendall(GET_BIG)
        begin = busy.recv(1000)
        # Who waits for his answer still is not idle.
        held = hold(other, 400, data, answers=data.count(GET))
        for _ in range(20):
            assert other.get("/plain.txt").body == b"plain"
        assert other.worker.num_fds() < 250
        for connection in held:
            connection.close()
        busy.shutdown(socket.SHUT_WR)
        assert (begin + read_all(busy)).endswith(BIG[-1000:]), "who waits for an answer is not idle"


def test_slow_readers_without_number_keep_no_one_out(folder, environment, proxy):
    limits = ["prlimit", "--nofile=64:300"]
    with running_proxy(folder, environment, limits) as other:
        other.get("/middle.bin")
        # More than the kernel takes from the proxy for somebody who reads nothing.
        held = hold(other, 250, request(b"GET /middle.bin HTTP/1.1", HOST) * 30)
        lets_newcomers_in(other)
        for _ in range(20):
            assert other.get("/plain.txt").body == b"plain"
        assert other.worker.num_fds() < 250
        for connection in held:
            connection.close()


def test_visitors_who_leave_in_mid_stream_leave_nothing_behind(proxy):
    process = proxy.worker
    proxy.get("/big.bin")
    before = process.num_fds()
    for _ in range(100):
        with proxy.connect() as connection:
            connection.sendall(GET_BIG)
            connection.recv(1000)
    awaited(lambda: process.num_fds() <= before + 2)
