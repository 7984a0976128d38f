"""36. 500 clients disconnect mid-stream → upstream reads stop, no descriptor leaks."""

from __future__ import annotations

import socket
import struct
import uuid
from pathlib import Path

from autostack.sites.store import open_store
from tests.chaos import Chaos
from tests.s3 import S3Server, s3_settings
from tests.sites import Proxy, awaited, publish, running_proxy

VISITORS = 500
AT_ONCE = 25
# More than is kept in memory, and more than has come when the store stands still.
BIG = b"0123456789" * 500_000
ASK = b"GET /big.bin HTTP/1.1\r\nHost: site.localhost\r\n\r\n"
# The sockets to the store that obstore keeps for the next read, and what Python opens now and then.
FEW = 8


def test_f36_nothing_is_read_for_visitors_who_left(s3: S3Server, tmp_path: Path) -> None:
    settings = s3_settings(s3, prefix=f"tests/{uuid.uuid4()}")
    publish(open_store(settings), "site", {"/big.bin": BIG, "/small.txt": b"small"})
    with Chaos(s3.port) as between:
        environment = {
            "STORAGE_URL": settings.storage_url,
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{between.port}",
            "AWS_ACCESS_KEY_ID": s3.access_key_id,
            "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        }
        with running_proxy(tmp_path, environment) as proxy:
            awaited(lambda: proxy.get("/small.txt").body == b"small")
            process = proxy.worker
            before = process.num_fds()
            between.stall(after_bytes=600_000)
            for _ in range(VISITORS // AT_ONCE):
                come_and_leave(proxy)
            awaited(lambda: process.num_fds() <= before + FEW)
            # Nobody waits for what the store has left to send.
            between.heal()
            passed = between.bytes_passed
            assert proxy.get("/small.txt").body == b"small"
            assert between.bytes_passed - passed < len(BIG)
            awaited(lambda: proxy.get("/big.bin").body == BIG)


def come_and_leave(proxy: Proxy) -> None:
    visitors = [proxy.connect() for _ in range(AT_ONCE)]
    for visitor in visitors:
        visitor.sendall(ASK)
    for visitor in visitors:
        assert visitor.recv(1000)
    for number, visitor in enumerate(visitors):
        if number % 2:
            # As a browser does that is closed: without a word of farewell.
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visitor.close()
