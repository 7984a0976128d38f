"""What differs between the files of two deployments, by their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from autostack.sites.manifest import File


class Kind(StrEnum):
    """What happened to a file."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs. Sizes are in bytes, None on the side that has no such file."""

    path: str
    kind: Kind
    before: int | None
    after: int | None

    @property
    def growth(self) -> int:
        """The bytes that the site grew by with this file."""
        return (self.after or 0) - (self.before or 0)


@dataclass(frozen=True, slots=True)
class Changes:
    """How many files differ and how much larger the site is, with the first of those files by path."""

    added: int
    changed: int
    removed: int
    unchanged: int
    bytes_before: int
    bytes_after: int
    files: tuple[FileChange, ...]

    @property
    def total(self) -> int:
        """How many files differ."""
        return self.added + self.changed + self.removed

    @property
    def growth(self) -> int:
        """The bytes that the site grew by."""
        return self.bytes_after - self.bytes_before


def compare(before: Mapping[str, File], after: Mapping[str, File], most: int) -> Changes:
    """Return what is different in `after`, both files by path; at most `most` of those files are named."""
    paths = sorted(before.keys() | after.keys())
    differing = [change for path in paths if (change := _change(path, before.get(path), after.get(path)))]
    counts = {kind: sum(change.kind is kind for change in differing) for kind in Kind}
    return Changes(
        added=counts[Kind.ADDED],
        changed=counts[Kind.CHANGED],
        removed=counts[Kind.REMOVED],
        unchanged=len(paths) - len(differing),
        bytes_before=sum(file.size for file in before.values()),
        bytes_after=sum(file.size for file in after.values()),
        files=tuple(differing[:most]),
    )


def _change(path: str, before: File | None, after: File | None) -> FileChange | None:
    if before is None:
        return FileChange(path, Kind.ADDED, None, after.size) if after else None
    if after is None:
        return FileChange(path, Kind.REMOVED, before.size, None)
    return FileChange(path, Kind.CHANGED, before.size, after.size) if before.sha256 != after.sha256 else None
