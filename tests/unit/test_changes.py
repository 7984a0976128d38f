"""What differs between two lists of files."""

from __future__ import annotations

from autostack.sites.changes import Changes, FileChange, Kind, compare
from autostack.sites.manifest import File

MOST = 10


def file(content: str, size: int) -> File:
    return File("text/html", size, content * 64)


def test_added_removed_and_changed_files_are_told_with_their_bytes():
    before = {"/index.html": file("a", 10), "/old.css": file("b", 7), "/same.js": file("c", 5)}
    after = {"/index.html": file("d", 14), "/new.css": file("e", 3), "/same.js": file("c", 5)}
    found = compare(before, after, MOST)
    assert found.files == (
        FileChange("/index.html", Kind.CHANGED, 10, 14),
        FileChange("/new.css", Kind.ADDED, None, 3),
        FileChange("/old.css", Kind.REMOVED, 7, None),
    )
    assert [change.growth for change in found.files] == [4, 3, -7]
    assert (found.added, found.changed, found.removed, found.unchanged, found.total) == (1, 1, 1, 1, 3)
    assert (found.bytes_before, found.bytes_after, found.growth) == (22, 22, 0)


def test_files_with_the_same_content_are_not_changed():
    files = {"/index.html": file("a", 10), "/b": file("b", 1)}
    assert compare(files, dict(files), MOST) == Changes(0, 0, 0, 2, 11, 11, ())


def test_of_a_site_without_a_past_every_file_is_added():
    found = compare({}, {"/index.html": file("a", 10)}, MOST)
    assert (found.added, found.total, found.bytes_before, found.bytes_after) == (1, 1, 0, 10)


def test_a_file_of_the_same_size_and_other_content_is_changed():
    found = compare({"/a": file("a", 3)}, {"/a": file("b", 3)}, MOST)
    assert found.files == (FileChange("/a", Kind.CHANGED, 3, 3),)


def test_of_a_huge_site_the_first_are_named_and_all_are_counted():
    before = {f"/{number:05}": file("a", 1) for number in range(20_000)}
    after = {f"/{number:05}": file("b", 2) for number in range(20_000)}
    found = compare(before, after, MOST)
    assert [change.path for change in found.files] == [f"/{number:05}" for number in range(MOST)]
    assert (found.changed, found.growth) == (20_000, 20_000)
