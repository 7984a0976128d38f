"""How the agent sends blobs: connections are kept, what breaks off is sent again, refused addresses are renewed."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest

from autostack.agent.api import RENEWALS, Api, Upload
from autostack.agent.collect import Output, collect
from autostack.agent.errors import BuildFailed, InfrastructureError
from autostack.agent.order import Limits
from autostack.agent.upload import uploading
from tests.peers.web_for_agents import ATTEMPT, BOOTSTRAP_TOKEN, LIMITS, FakeWeb, fake_web, make_order

DATA = b"a page of the site"
NAME = hashlib.sha256(DATA).hexdigest()


@dataclass
class Bucket:
    """A store that takes blobs at signed addresses, and does with the first ones what `answers` says."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    connections: set[tuple[str, int]] = field(default_factory=set)
    headers: list[dict[str, str]] = field(default_factory=list)

    def address(self, name: str) -> Upload:
        return Upload(name, f"http://127.0.0.1:{self.port}/{name}?signature=x", {"x-amz-checksum-sha256": "signed"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def do_PUT(self) -> None:
        if self.bucket.answers == [413]:
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bucket.connections.add(self.client_address)
        self.bucket.headers.append(dict(self.headers))
        answer = self.bucket.answers.pop(0) if self.bucket.answers else 200
        if answer == 0:
            self.close_connection = True
            return
        if answer == 200:
            self.bucket.blobs[self.path[1:].partition("?")[0]] = body
        self.send_response(answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at Bucket instead."""


@contextmanager
def bucket_of(answers: list[int]) -> Iterator[Bucket]:
    bucket = Bucket(answers=answers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
    server.daemon_threads = True
    bucket.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web() -> Iterator[FakeWeb]:
    with fake_web(make_order({"url": "https://git.example.com/a/b"})) as web:
        yield web


@pytest.fixture
def api(web: FakeWeb) -> Iterator[Api]:
    api = Api(web.url, ATTEMPT, BOOTSTRAP_TOKEN)
    api.fetch_order()
    yield api
    api.close()


def test_blobs_go_out_on_one_connection_with_the_signed_headers_and_no_token(api):
    with bucket_of([]) as bucket:
        for data in (DATA, b"", bytes(600_000)):
            name = hashlib.sha256(data).hexdigest()
            api.put_blob(bucket.address(name), lambda data=data: io.BytesIO(data), len(data))
            assert bucket.blobs[name] == data
        assert len(bucket.connections) == 1
        assert all(sent["x-amz-checksum-sha256"] == "signed" for sent in bucket.headers)
        assert not any("Authorization" in sent for sent in bucket.headers)


@pytest.mark.parametrize("first", [503, 0])
def test_what_breaks_off_or_is_put_off_is_sent_again(api, first):
    with bucket_of([first]) as bucket:
        api.put_blob(bucket.address(NAME), lambda: io.BytesIO(DATA), len(DATA))
        assert bucket.blobs == {NAME: DATA}


def test_a_refusal_in_the_middle_of_a_large_body_is_heard(api):
    data = bytes(50_000_000)
    with bucket_of([413]) as bucket, pytest.raises(BuildFailed, match="413"):
        api.put_blob(bucket.address(NAME), lambda: io.BytesIO(data), len(data))


@pytest.mark.parametrize("refusal", [403, 400])
def test_for_an_address_that_is_refused_another_is_asked_for(api, web, refusal):
    with bucket_of([refusal]) as bucket:
        api.put_blob(bucket.address(NAME), lambda: io.BytesIO(DATA), len(DATA))
    assert web.invitations == 1
    # That leads to web here.
    assert web.blobs == {NAME: DATA}


def test_it_is_asked_for_a_few_times_only(api, web, monkeypatch):
    with bucket_of([403] * 10) as bucket:
        monkeypatch.setattr(api, "invite", lambda blobs: [bucket.address(NAME)])
        with pytest.raises(InfrastructureError, match="403"):
            api.put_blob(bucket.address(NAME), lambda: io.BytesIO(DATA), len(DATA))
        assert len(bucket.headers) == 1 + RENEWALS


def test_of_what_waits_to_be_sent_there_is_a_limit(api, web, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("autostack.agent.upload.BATCH", 5)
    monkeypatch.setattr("autostack.agent.upload.MOST_QUEUED", 10)
    dist, spool = tmp_path / "dist", tmp_path / "spool"
    for folder in (dist, spool):
        folder.mkdir()
    for number in range(40):
        # Too large for a pack, and no smaller compressed.
        (dist / f"{number}.bin").write_bytes(os.urandom(140_000))
    output = Output(tmp_path, PurePosixPath("dist"), Limits(*LIMITS.values()), uid=None)
    with uploading(api, output) as uploads:
        files = []
        for file in collect(output, spool, lambda text, level: None):
            uploads.offer(file)
            files.append(file)
            assert len(uploads._queue) <= 15
        assert uploads.finish(files, {}, lambda text, level: None) == (40, 40)
    assert len(web.blobs) == 40
