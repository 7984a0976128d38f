"""Proxies in front of this one: what they say of the visitor is believed of them alone."""

from __future__ import annotations

import pytest

from tests.integration.proxy.messages import GET, read_answers
from tests.sites import Answer, running_proxy

V1 = b"PROXY TCP4 1.2.3.4 127.0.0.1 5000 80\r\n"


def test_a_trusted_hop_begins_with_its_header(folder, environment, proxy):
    given = {**environment, "PROXY_TRUSTED": "127.0.0.0/8", "PROXY_PROTOCOL": "true"}
    with running_proxy(folder, given, begin=V1) as behind:
        close = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        answer = behind.raw(V1 + GET + close)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert behind.raw(GET) == b"", "without it, nothing is believed"
        assert behind.raw(b"PROXY TCP4 nonsense\r\n" + GET) == b""
        with behind.connect() as connection:
            for byte in V1 + close:
                connection.sendall(bytes([byte]))
            assert read_answers(connection, 1)[0].body == b"plain"


@pytest.mark.parametrize("given", [{}, {"PROXY_TRUSTED": "10.0.0.0/8", "PROXY_PROTOCOL": "true"}])
def test_nobody_else_may_send_one(folder, environment, proxy, given):
    with running_proxy(folder, {**environment, **given}) as other:
        assert Answer.parse(other.raw(V1 + GET)).status == 400
