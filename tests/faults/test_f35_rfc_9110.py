"""35. Range, If-Range, HEAD, If-None-Match, If-Modified-Since → what RFC 9110 says. On the wire; the tables are in
tests/unit/test_respond.py."""

from __future__ import annotations

import email
from collections.abc import Iterator

import pytest

from autostack.settings import load_settings
from autostack.sites.store import open_store
from tests.sites import Proxy, publish, running_proxy

DATA = bytes(range(200)) * 20
LARGE = bytes(range(256)) * 8000
FAR = "Sat, 21 Nov 2099 00:00:00 GMT"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("f35")
    url = f"file://{folder}/store"
    publish(
        open_store(load_settings(storage_url=url)),
        "site",
        {"/a.bin": DATA, "/a.txt": DATA, "/large.bin": LARGE},
        encodings=("br",),
    )
    with running_proxy(folder, {"STORAGE_URL": url}) as running:
        yield running


@pytest.mark.parametrize("first", [0, 1, 1999, 3999])
@pytest.mark.parametrize("last", [0, 1, 2000, 3999, 9999])
def test_f35_a_range_is_the_bytes_that_were_asked_for(proxy, first, last):
    answer = proxy.get("/a.bin", Range=f"bytes={first}-{last}")
    if first > last:
        assert (answer.status, answer.body) == (200, DATA)
    else:
        assert (answer.status, answer.body) == (206, DATA[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{min(last, 3999)}/4000"


def test_f35_a_range_after_the_end_is_416(proxy):
    answer = proxy.get("/a.bin", Range="bytes=4000-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */4000")


def test_f35_a_download_is_resumed_only_if_the_file_is_the_same(proxy):
    etag = proxy.get("/a.bin").headers["etag"]
    assert proxy.get("/a.bin", Range="bytes=5-", If_Range=etag).status == 206
    assert proxy.get("/a.bin", Range="bytes=5-", If_Range='"another"').body == DATA
    assert proxy.get("/a.bin", Range="bytes=5-", If_Range="Sat, 21 Nov 2026 00:00:00 GMT").body == DATA


def test_f35_conditions_go_before_ranges(proxy):
    etag = proxy.get("/a.bin").headers["etag"]
    assert proxy.get("/a.bin", Range="bytes=0-1", If_None_Match=etag).status == 304
    assert proxy.get("/a.bin", Range="bytes=0-1", If_Match='"another"').status == 412
    assert proxy.get("/a.bin", If_None_Match='"another"', If_Modified_Since=FAR).status == 200


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}, {"Accept_Encoding": "br"}, {"If_None_Match": "*"}])
def test_f35_head_is_get_without_a_body(proxy, headers):
    get, head = proxy.get("/a.txt", **headers), proxy.get("/a.txt", method="HEAD", **headers)
    assert head.body == b""
    if "Range" not in headers:
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}
        assert head.status == get.status
    else:
        assert head.status == 200, "a range is for GET alone"


def test_f35_several_ranges_come_as_one_answer_of_parts(proxy):
    answer = proxy.get("/a.bin", Range="bytes=0-9,-10,100-199")
    message = email.message_from_bytes(
        b"Content-Type: %s\r\n\r\n" % answer.headers["content-type"].encode() + answer.body
    )
    parts = message.get_payload()
    assert answer.status == 206
    assert [part["Content-Range"] for part in parts] == [
        "bytes 0-9/4000",
        "bytes 3990-3999/4000",
        "bytes 100-199/4000",
    ]
    assert [part.get_payload(decode=True) for part in parts] == [DATA[:10], DATA[-10:], DATA[100:200]]
    assert len(answer.body) == int(answer.headers["content-length"])


def test_f35_parts_of_a_large_file_are_each_read_from_the_store(proxy):
    answer = proxy.get("/large.bin", Range="bytes=5-5,1000000-1000009,-3")
    assert answer.status == 206
    assert [piece for piece in (LARGE[5:6], LARGE[1_000_000:1_000_010], LARGE[-3:]) if piece not in answer.body] == []
    assert len(answer.body) == int(answer.headers["content-length"])


def test_f35_an_expectation_that_we_do_not_know_is_417(proxy):
    assert proxy.get("/a.bin", Expect="100-continue").body == DATA
    assert proxy.get("/a.bin", Expect="tea").status == 417
