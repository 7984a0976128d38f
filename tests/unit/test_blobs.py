"""Blobs on their way to a visitor: from the disk or the store, never another content, and no file left open."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from autostack.proxy.blobs import Blobs
from autostack.proxy.disk import DiskCache
from autostack.proxy.manifests import Manifests
from autostack.proxy.negotiation import ByteRange
from autostack.proxy.respond import Plan
from autostack.settings import load_settings
from autostack.sites import keys
from autostack.sites.errors import StoreUnavailable
from autostack.sites.manifest import Blob
from autostack.sites.store import Store, open_store

PROJECT = str(uuid.uuid4())
MB = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(load_settings(storage_url=f"file://{tmp_path}/store"))


@pytest.fixture
def disk(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "files", 100 * MB)


def blob_of(data: bytes) -> Blob:
    return Blob(hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize("size", [100, 900_000])
def test_another_content_of_the_same_length_is_never_sent_nor_kept(store, disk, size):
    blob = blob_of(b"a" * size)
    store.put(keys.blob(PROJECT, blob.sha256), b"b" * size)

    async def ask() -> None:
        blobs = Blobs(store, MB, disk)
        with pytest.raises(StoreUnavailable):
            await blobs.respond(PROJECT, Plan(b"", blob))
        assert blobs.get(blob.sha256) is None

    asyncio.run(ask())
    assert not disk.has(blob.sha256)


def test_of_a_pack_only_the_part_that_is_asked_for_is_read_and_checked(store, disk):
    parts = [b"first", b"second" * 100, b"third"]
    pack = blob_of(b"".join(parts)).sha256
    store.put(keys.blob(PROJECT, pack), b"".join(parts))
    starts = [0, len(parts[0]), len(parts[0] + parts[1])]
    packed = [replace(blob_of(data), pack=pack, start=start) for data, start in zip(parts, starts, strict=True)]
    wrong = replace(packed[2], start=1)

    async def ask() -> None:
        blobs = Blobs(store, MB, disk)
        answers = await asyncio.gather(*(blobs.respond(PROJECT, Plan(b"", blob)) for blob in packed))
        assert [answer.body for answer in answers] == parts
        assert [blobs.get(blob.sha256) for blob in packed] == parts
        with pytest.raises(StoreUnavailable):
            await Blobs(store, MB).respond(PROJECT, Plan(b"", wrong))

    asyncio.run(ask())


@pytest.mark.parametrize("has_disk", [True, False])
def test_a_file_that_is_shorter_than_it_should_be_is_broken_off_at_once(store, disk, has_disk):
    blob = blob_of(b"a" * 2 * MB)
    store.put(keys.blob(PROJECT, blob.sha256), b"a" * (2 * MB - 1))
    received = asyncio.run(received_before_it_breaks_off(Blobs(store, MB, disk if has_disk else None), blob))
    assert received < 2 * MB
    assert not disk.has(blob.sha256)


def test_of_a_large_file_of_another_content_the_last_bytes_are_never_sent(store, disk):
    blob = blob_of(b"a" * 2 * MB)
    store.put(keys.blob(PROJECT, blob.sha256), b"b" * 2 * MB)
    assert asyncio.run(received_before_it_breaks_off(Blobs(store, MB, disk), blob)) < 2 * MB
    assert not disk.has(blob.sha256)


async def received_before_it_breaks_off(blobs: Blobs, blob: Blob) -> int:
    received = 0
    response = await blobs.respond(PROJECT, Plan(b"", blob))
    try:
        async for chunk in response.chunks:
            received += len(chunk)
    except StoreUnavailable:
        return received
    raise AssertionError("it was sent to its end")


def test_what_a_damaged_disk_has_is_read_anew_from_the_store(store, disk):
    data = b"right" * 100
    blob = blob_of(data)
    disk.write(blob.sha256, b"wrong" * 100)
    store.put(keys.blob(PROJECT, blob.sha256), data)

    async def ask() -> bytes:
        return (await Blobs(store, MB, disk).respond(PROJECT, Plan(b"", blob))).body

    assert asyncio.run(ask()) == data


def test_visitors_who_leave_while_the_disk_stalls_leave_no_file_open(store, disk):
    contents = [b"%d" % number * 100 for number in range(20)]
    for data in contents:
        disk.write(blob_of(data).sha256, data)
    id = str(uuid.uuid4())
    disk.write(id, b"{}")

    async def ask() -> None:
        stalled = threading.Event()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        busy = asyncio.get_running_loop().run_in_executor(None, stalled.wait)
        blobs, manifests = Blobs(store, MB, disk), Manifests(store, MB, disk)
        reads = [asyncio.ensure_future(blobs._read_from_disk(blob_of(data))) for data in contents]
        reads.append(asyncio.ensure_future(manifests.peek(PROJECT, id)))
        await asyncio.sleep(0)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        stalled.set()
        await busy

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(ask())
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_fetched_ahead_is_there_for_who_comes_unless_it_is_too_large(store, disk):
    contents = {size: b"x" * size for size in (100, MB + 1)}
    for data in contents.values():
        store.put(keys.blob(PROJECT, blob_of(data).sha256), data)

    async def fetch() -> dict[int, bytes | None]:
        blobs = Blobs(store, 10 * MB, disk)
        for data in contents.values():
            blobs.fetch_ahead(PROJECT, blob_of(data))
        # Joins what is under way.
        await blobs.respond(PROJECT, Plan(b"", blob_of(contents[100])))
        return {size: blobs.get(blob_of(data).sha256) for size, data in contents.items()}

    assert asyncio.run(fetch()) == {100: contents[100], MB + 1: None}


@pytest.mark.parametrize("gives_up", [True, False])
def test_who_follows_what_another_fills_gets_all_of_it_even_if_that_one_gives_up(store, disk, gives_up):
    data = os.urandom(6 * MB)
    blob = blob_of(data)
    store.put(keys.blob(PROJECT, blob.sha256), data)

    async def ask() -> bytes:
        # Like two workers, they share the disk and nothing else.
        fills, follows = Blobs(store, MB, disk), Blobs(store, MB, disk)
        first = await fills.respond(PROJECT, Plan(b"", blob))
        second = await follows.respond(PROJECT, Plan(b"", blob))
        assert len(list(disk._folder.glob("draft-*"))) == 1
        assert first.chunks is not None
        assert second.chunks is not None
        if gives_up:
            await first.chunks.aclose()
        else:
            assert first.body + b"".join([chunk async for chunk in first.chunks]) == data
        return second.body + b"".join([chunk async for chunk in second.chunks])

    assert asyncio.run(ask()) == data
    assert not list(disk._folder.glob("draft-*"))
    assert disk.has(blob.sha256) is not gives_up


def test_parts_of_what_is_in_memory_are_no_copies(store):
    data = os.urandom(900_000)
    blob = blob_of(data)
    store.put(keys.blob(PROJECT, blob.sha256), data)

    async def ask() -> None:
        blobs = Blobs(store, 10 * MB)
        await blobs.respond(PROJECT, Plan(b"", blob))
        cached = blobs.get(blob.sha256)
        one = blobs.respond_now(Plan(b"", blob, (ByteRange(1, 900_000),)))
        assert (one.body.obj is cached, one.body == data[1:]) == (True, True)
        several = Plan(b"", blob, (ByteRange(0, 5), ByteRange(10, 800_000)), (b"--a", b"--b", b"--"))
        parts = [part async for part in blobs.respond_now(several).chunks]
        assert b"".join(parts) == b"--a" + data[:5] + b"--b" + data[10:800_000] + b"--"
        assert parts[3].obj is cached

    asyncio.run(ask())
