"""What tests of the proxy send, and how they read the answers that come back on one connection."""

from __future__ import annotations

import socket

from tests.sites import Answer

HOST = b"Host: site.localhost"
GET = b"GET /plain.txt HTTP/1.1\r\nHost: site.localhost\r\n\r\n"
GET_BIG = b"GET /big.bin HTTP/1.1\r\nHost: site.localhost\r\n\r\n"


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *headers, b"", body])


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
