"""Folders that outlast a build."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from autostack.agent.files import remove_tree
from autostack.agent.shelf import MAX_AGE_S, Shelf

MB = 1_000_000
KEY, OTHER_KEY = (f"modules-{digit * 40}" for digit in "ab")
ONE, TWO, THREE, FOUR = (digit * 64 for digit in "1234")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf", MB)


def shelve(shelf: Shelf, folder: Path, tag: str, *, size: int = 1, files: int = 1) -> None:
    """Have a folder of so many files, of so many bytes each, on the shelf."""
    source = folder / f"source-of-{tag[0]}"
    source.mkdir()
    for number in range(files):
        (source / f"file-{number}").write_bytes(b"x" * size)
    shelf.keep(KEY, tag, source)
    shelf.put_back()


def places(folder: Path) -> list[Path]:
    return [path for boot in (folder / "shelf").iterdir() for path in boot.iterdir()]


def test_a_folder_is_taken_once_and_there_again_when_it_was_put_back(shelf: Shelf, tmp_path: Path) -> None:
    other = Shelf(tmp_path / "shelf", MB)
    shelve(shelf, tmp_path, ONE)
    assert other.tags(KEY) == [ONE]
    assert shelf.take(KEY, ONE, tmp_path / "mine", None)
    assert (tmp_path / "mine" / "file-0").read_bytes() == b"x"
    assert other.tags(KEY) == []
    assert not other.take(KEY, ONE, tmp_path / "theirs", None)
    shelf.put_back()
    assert other.take(KEY, ONE, tmp_path / "theirs", None)


def test_only_what_was_asked_for_is_given(shelf: Shelf, tmp_path: Path) -> None:
    shelve(shelf, tmp_path, ONE)
    assert shelf.tags(OTHER_KEY) == []
    assert not shelf.take(OTHER_KEY, ONE, tmp_path / "target", None)
    assert not shelf.take(KEY, TWO, tmp_path / "target", None)


def test_of_builds_that_want_the_same_folder_at_once_one_gets_it(shelf: Shelf, tmp_path: Path) -> None:
    shelve(shelf, tmp_path, ONE)
    got: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda n=n: got.append(Shelf(tmp_path / "shelf", MB).take(KEY, ONE, tmp_path / n, None))
        )
        for n in "abcdefgh"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def test_a_second_folder_of_the_same_archive_is_not_kept(shelf: Shelf, tmp_path: Path) -> None:
    shelve(shelf, tmp_path, ONE)
    (tmp_path / "source-of-1").mkdir()
    shelf.keep(KEY, ONE, tmp_path / "source-of-1")
    shelf.put_back()
    assert shelf.tags(KEY) == [ONE]


def test_one_that_was_dropped_is_not_kept(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    shelf.keep(KEY, ONE, tmp_path / "folder")
    shelf.drop(tmp_path / "folder")
    shelf.put_back()
    assert shelf.tags(KEY) == []


def test_the_ones_longest_unused_are_let_go_of(shelf: Shelf, tmp_path: Path) -> None:
    for number, tag in enumerate((ONE, TWO, THREE)):
        shelve(shelf, tmp_path, tag, size=300_000)
        used = time.time() - 100 + number
        os.utime(next(path for path in places(tmp_path) if tag in path.name), (used, used))
    shelve(shelf, tmp_path, FOUR, size=300_000)
    assert sorted(shelf.tags(KEY)) == [TWO, THREE, FOUR]
    assert len(places(tmp_path)) == 3


def test_what_was_not_used_for_long_goes_too(shelf: Shelf, tmp_path: Path) -> None:
    shelve(shelf, tmp_path, ONE)
    long_ago = time.time() - MAX_AGE_S - 1
    os.utime(places(tmp_path)[0], (long_ago, long_ago))
    shelf.prune()
    assert places(tmp_path) == []


def test_many_empty_files_are_as_much_as_a_few_large_ones(shelf: Shelf, tmp_path: Path) -> None:
    shelve(shelf, tmp_path, ONE, size=0, files=1_000)
    assert shelf.tags(KEY) == []


def test_names_that_are_not_ours_harm_nobody_and_are_cleared_away(shelf: Shelf, tmp_path: Path) -> None:
    shelve(shelf, tmp_path, ONE)
    place = places(tmp_path)[0].parent
    (place / "README").touch()
    (place / f"gone-1-{KEY}.{TWO}.5").mkdir()
    (tmp_path / "shelf" / "another-boot").mkdir()
    assert shelf.tags(KEY) == [ONE]
    shelf.prune()
    assert len(places(tmp_path)) == 1


def test_a_shelf_that_cannot_be_written_is_one_that_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "shelf").write_text("a file")
    shelf = Shelf(tmp_path / "shelf", MB)
    shelf.prune()
    shelve(shelf, tmp_path, ONE)
    assert shelf.tags(KEY) == []


def test_a_folder_nested_deeper_than_a_path_can_name_is_not_kept(shelf: Shelf, tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("abc", dir_fd=here)
        below = os.open("abc", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        shelf.keep(KEY, ONE, deep)
        shelf.put_back()
        assert shelf.tags(KEY) == []
    finally:
        # Python's own rmtree, with which pytest would clear it away, cannot.
        remove_tree(deep)


def test_one_folder_may_be_less_than_all_together(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", MB, MB // 4)
    shelve(shelf, tmp_path, ONE, size=MB // 8)
    assert shelf.takes(next((tmp_path / "shelf").glob("*/*")))
    shelve(shelf, tmp_path, TWO, size=MB // 2)
    assert shelf.tags(KEY) == [ONE]
    assert not shelf.takes(tmp_path / "none")
