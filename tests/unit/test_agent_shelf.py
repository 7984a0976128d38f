"""Folders that outlast a build."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from autostack.agent.shelf import Shelf

MB = 1_000_000


def shelve(shelf: Shelf, folder: Path, key: str, tag: str, size: int = 1) -> None:
    """Have a folder of so many bytes on the shelf."""
    source = folder / f"source-of-{tag}"
    source.mkdir()
    (source / "file").write_bytes(b"x" * size)
    shelf.keep(key, tag, source)
    shelf.put_back()


def test_a_folder_is_taken_once_and_there_again_when_it_was_put_back(tmp_path: Path) -> None:
    shelf, other = Shelf(tmp_path / "shelf", MB), Shelf(tmp_path / "shelf", MB)
    shelve(shelf, tmp_path, "modules-a", "1")
    assert other.tags("modules-a") == ["1"]
    assert shelf.take("modules-a", "1", tmp_path / "mine", None)
    assert (tmp_path / "mine" / "file").read_bytes() == b"x"
    assert other.tags("modules-a") == []
    assert not other.take("modules-a", "1", tmp_path / "theirs", None)
    shelf.put_back()
    assert other.take("modules-a", "1", tmp_path / "theirs", None)


def test_only_what_was_asked_for_is_given(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", MB)
    shelve(shelf, tmp_path, "modules-a", "1")
    assert shelf.tags("modules-b") == []
    assert not shelf.take("modules-b", "1", tmp_path / "target", None)
    assert not shelf.take("modules-a", "2", tmp_path / "target", None)


def test_of_builds_that_want_the_same_folder_at_once_one_gets_it(tmp_path: Path) -> None:
    shelves = [Shelf(tmp_path / "shelf", MB) for _ in range(8)]
    shelve(shelves[0], tmp_path, "modules-a", "1")
    got: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n, s=s: got.append(s.take("modules-a", "1", tmp_path / f"t{n}", None)))
        for n, s in enumerate(shelves)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def test_a_second_folder_of_the_same_archive_is_not_kept(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", MB)
    shelve(shelf, tmp_path, "modules-a", "1")
    (tmp_path / "source-of-1").mkdir()
    shelf.keep("modules-a", "1", tmp_path / "source-of-1")
    shelf.put_back()
    assert shelf.tags("modules-a") == ["1"]


def test_the_ones_longest_unused_are_let_go_of(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", 2 * MB)
    for number, tag in enumerate("abc"):
        shelve(shelf, tmp_path, "modules", tag, size=700_000)
        entry = next(path for path in (tmp_path / "shelf").iterdir() if f".{tag}." in path.name)
        os.utime(entry, (number, number))
    shelve(shelf, tmp_path, "modules", "d", size=700_000)
    assert sorted(shelf.tags("modules")) == ["c", "d"]
    assert len(list((tmp_path / "shelf").iterdir())) == 2
