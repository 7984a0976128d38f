"""The store's contract, on a folder and on a real S3 server alike."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from autostack.errors import ConfigurationError
from autostack.settings import load_settings
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.store import PART_BYTES, SHORT_BYTES, Store, open_store
from tests.s3 import S3Server, s3_settings

MB = 1_000_000


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(load_settings(storage_url=f"file://{tmp_path}/a%20folder"))
    server: S3Server = request.getfixturevalue("s3")
    return open_store(s3_settings(server, prefix=f"tests/{uuid.uuid4()}"))


def test_what_was_put_is_read_back(store):
    store.put("projects/p/blobs/a", b"hello")
    assert store.get("projects/p/blobs/a") == b"hello"
    assert store.size("projects/p/blobs/a") == 5
    assert asyncio.run(store.get_async("projects/p/blobs/a")) == b"hello"
    assert store.get_part("projects/p/blobs/a", 1, 3) == b"ell"


def test_an_object_of_a_known_size_is_read_in_one_step_if_it_has_that_size(store):
    store.put("a", b"hello")
    assert asyncio.run(store.get_sized_async("a", 5)) == b"hello"
    for other in (4, 6):
        with pytest.raises(StoreUnavailable):
            asyncio.run(store.get_sized_async("a", other))
    with pytest.raises(ObjectNotFound):
        asyncio.run(store.get_sized_async("b", 5))


@pytest.mark.parametrize("size", [1, 1000, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 3 * SHORT_BYTES])
def test_what_is_mostly_short_is_read_whole_however_long_it_is(store, size):
    data = os.urandom(size)
    store.put("short", data)
    assert asyncio.run(store.get_short_async("short")) == data
    with pytest.raises(ObjectNotFound):
        asyncio.run(store.get_short_async("not-there"))


def test_an_empty_object_is_an_object(store):
    store.put("empty", b"")
    store.put_stream("empty-stream", iter([]))
    assert store.get("empty") == store.get("empty-stream") == b""
    assert store.missing(["empty", "empty-stream"]) == set()
    assert b"".join(store.iterate("empty")) == b""


def test_a_later_put_replaces_an_earlier_one(store):
    store.put("a/b", b"one")
    store.put("a/b", b"two!")
    assert store.get("a/b") == b"two!"


def test_reading_what_is_not_there_says_so(store):
    assert store.size("nothing/here") is None
    with pytest.raises(ObjectNotFound):
        store.get("nothing/here")
    with pytest.raises(ObjectNotFound):
        store.iterate("nothing/here")
    with pytest.raises(ObjectNotFound):
        asyncio.run(store.get_async("nothing/here"))
    with pytest.raises(ObjectNotFound):
        asyncio.run(store.open_async("nothing/here"))


def test_a_large_object_is_written_from_chunks_and_read_in_chunks(store):
    part = bytes(range(256)) * 4096
    store.put_stream("large", (part for _ in range(20)))
    chunks = list(store.iterate("large"))
    assert b"".join(chunks) == part * 20
    assert max(map(len, chunks)) < PART_BYTES


def test_a_file_is_written_as_a_stream(store, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 20 * MB)
    store.put_stream("from-a-file", tmp_path / "file")
    assert store.size("from-a-file") == 20 * MB


def test_a_stream_that_breaks_off_leaves_the_old_object(store):
    def broken() -> Iterator[bytes]:
        yield b"x" * 2 * PART_BYTES
        raise OSError("the agent hung up")

    store.put("cache/one", b"old")
    with pytest.raises(OSError, match="hung up"):
        store.put_stream("cache/one", broken())
    with pytest.raises(OSError, match="hung up"):
        store.put_stream("cache/two", broken())
    assert store.get("cache/one") == b"old"
    assert store.size("cache/two") is None
    assert list(store.names("cache")) == ["cache/one"]


@pytest.mark.parametrize(
    "start, end, expected",
    [(0, None, b"0123456789"), (3, None, b"3456789"), (2, 5, b"234"), (9, 10, b"9"), (8, 100, b"89")],
)
def test_a_part_of_an_object_is_streamed(store, start, end, expected):
    async def read() -> tuple[int, int, bytes]:
        stream = await store.open_async("digits", start, end)
        return stream.total, stream.length, b"".join([chunk async for chunk in stream.chunks])

    store.put("digits", b"0123456789")
    assert asyncio.run(read()) == (10, len(expected), expected)


def test_a_folder_is_read_page_by_page_in_the_order_of_names(store):
    names = [f"p/blobs/{number:02}" for number in range(7)]
    for name in [*names, "p/blobs-of-others/00"]:
        store.put_stream(name, [b"1234"])
    pages = [store.next_objects("p/blobs", "", 3)]
    while pages[-1]:
        pages.append(store.next_objects("p/blobs", pages[-1][-1].key, 3))
    assert [[found.key for found in page] for page in pages] == [names[:3], names[3:6], names[6:], []]
    assert {found.size for page in pages for found in page} == {4}
    assert store.next_objects("p/none", "") == []


@pytest.mark.parametrize("count", [5, 300])
def test_the_missing_ones_among_many_are_found(store, count):
    there = [f"projects/p/blobs/{n:04}" for n in range(0, count, 2)]
    absent = {f"projects/p/blobs/{n:04}" for n in range(1, count, 2)} | {"projects/q/blobs/0000"}
    for key in there:
        store.put_stream(key, [b"x"])
    assert store.missing([*there, *absent]) == absent
    assert store.missing([]) == set()


def test_a_folder_is_listed_and_not_its_namesakes(store):
    for key in ("p/1/a", "p/1/b/c", "p/10/a"):
        store.put(key, b"")
    assert sorted(store.names("p/1")) == ["p/1/a", "p/1/b/c"]
    assert list(store.names("p/none")) == []


def test_objects_are_deleted_one_by_one_and_by_folder(store):
    for key in ("p/1/a", "p/1/b/c", "p/2/a"):
        store.put(key, b"")
    store.delete("p/2/a")
    store.delete("p/2/a")
    store.delete(["p/2/a", "p/2/never"])
    assert store.delete_prefix("p/1") == 2
    assert store.delete_prefix("p/1") == 0
    assert list(store.names("p")) == []


def test_a_swap_needs_the_version_that_was_seen(store):
    assert store.read_version("routes/a.json") is None
    assert store.swap("routes/a.json", b"1", None)
    assert not store.swap("routes/a.json", b"again", None)
    first = store.read_version("routes/a.json")
    assert store.swap("routes/a.json", b"2", first)
    assert not store.swap("routes/a.json", b"3", first)
    assert store.get("routes/a.json") == b"2"
    assert list(store.names("routes")) == ["routes/a.json"]


def test_a_swap_of_what_was_deleted_since_fails(store):
    store.put("routes/a.json", b"1")
    seen = store.read_version("routes/a.json")
    store.delete("routes/a.json")
    assert not store.swap("routes/a.json", b"2", seen)


def test_of_many_swaps_at_once_one_wins(store):
    store.put("routes/a.json", b"0")
    seen = store.read_version("routes/a.json")
    won: list[int] = []

    def swap(number: int) -> None:
        if store.swap("routes/a.json", str(number).encode(), seen):
            won.append(number)

    threads = [threading.Thread(target=swap, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("routes/a.json") == str(won[0]).encode()


def test_a_reader_never_sees_half_of_a_write(store):
    ones, twos = b"1" * 300_000, b"2" * 300_000
    store.put("blob", ones)
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(store.get("blob"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(40):
        store.put("blob", twos if number % 2 == 0 else ones)
        store.put_stream("blob", [twos if number % 2 else ones])
    stop.set()
    reader.join()
    assert seen <= {ones, twos}


def test_a_local_folder_signs_nothing(tmp_path):
    store = open_store(load_settings(storage_url=f"file://{tmp_path}"))
    assert not store.can_sign
    assert store.sign_put("a", "0" * 64, 1, 60) is None


def test_a_file_where_a_folder_should_be_is_our_error(tmp_path):
    store = open_store(load_settings(storage_url=f"file://{tmp_path}"))
    store.put("a", b"")
    with pytest.raises(StoreUnavailable):
        store.put("a/b", b"")
    with pytest.raises(StoreUnavailable):
        store.get("a/b")


@pytest.mark.parametrize("url", ["s3://", "ftp://host/x", "file://elsewhere/x", "nonsense"])
def test_an_address_of_another_kind_is_refused(url):
    with pytest.raises(ConfigurationError, match="STORAGE_URL"):
        open_store(load_settings(storage_url=url))


def test_a_local_file_may_have_the_longest_name_there_is_and_its_draft_is_no_object(tmp_path):
    store = open_store(load_settings(storage_url=f"file://{tmp_path}"))
    key = "routes/" + "x" * 255
    store.put(key, b"route")
    (tmp_path / "routes" / "#123").write_bytes(b"half a ro")
    assert store.get(key) == b"route"
    assert list(store.names("routes")) == [listed.key for listed in store.next_objects("routes", "")] == [key]
