"""Files kept on the proxy's disk: whole or not at all, up to a size, and never needed."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from autostack.proxy.disk import DiskCache


def names(count: int) -> list[str]:
    return [hashlib.sha256(b"%d" % number).hexdigest() for number in range(count)]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "files", 1_000_000)


def test_what_was_written_is_read_also_by_another_process_and_later(cache, tmp_path):
    (name,) = names(1)
    assert cache.read(name) is None
    cache.write(name, b"content")
    assert cache.read(name, 7) == b"content"
    assert DiskCache(tmp_path / "files", 1_000_000).read(name) == b"content"


def test_a_file_of_another_size_is_not_there_from_then_on(cache):
    (name,) = names(1)
    cache.write(name, b"content")
    assert cache.read(name, 8) is None
    assert cache.read(name) is None


def test_the_size_is_bounded_and_what_was_used_last_stays(cache, tmp_path):
    many = names(200)
    cache.write(many[0], b"x" * 20_000)
    long_ago = time.time() - 1000
    for number, name in enumerate(many):
        cache.write(name, b"x" * 20_000)
        path = tmp_path / "files" / name[:2] / name
        os.utime(path, (long_ago + number, long_ago + number))
        assert size_of(tmp_path) <= 1_000_000
        assert cache.read(many[0]), "it was touched as it was read"
    assert cache.read(many[-1])
    assert cache.read(many[1]) is None


def test_what_a_crash_left_unfinished_makes_room_like_the_rest(cache, tmp_path):
    with cache.draft() as draft:
        draft.write(b"x" * 200_000)
        left = next((tmp_path / "files").glob("draft-*"))
        os.link(left, tmp_path / "files" / "draft-of-a-dead-one")
    assert not left.exists(), "unfinished, and closed"
    for name in names(100):
        cache.write(name, b"x" * 20_000)
    assert not list((tmp_path / "files").glob("draft-*"))


def test_a_file_that_would_take_most_of_the_room_is_not_kept(cache):
    (name,) = names(1)
    assert not cache.takes(300_000)
    cache.write(name, b"x" * 300_000)
    assert cache.read(name) is None


def test_a_disk_that_takes_nothing_harms_nobody(cache, tmp_path):
    (name,) = names(1)
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    cache.write(name, b"content")
    cache.sweep()
    assert cache.read(name) is None


def test_a_disk_that_cannot_even_be_asked_has_nothing(tmp_path):
    cache = DiskCache(tmp_path / "files", 1_000_000)
    # The system refuses such a path with an error other than that nothing is there.
    name = "ab" * 300
    assert not cache.has(name)
    assert cache.read(name) is None
