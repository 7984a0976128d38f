"""Reading a list page by page: by number, as the API does, or onward from a row, as the pages do.

Both read keys first, from an index if the query allows it, and then whole rows for those that are shown. Onward from a
row a page costs the same wherever it is; by number it costs what stands before it, and the exact total.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, func, select

from autostack.extensions import db

MAX_PAGE_SIZE = 100
MAX_PAGE = 1_000_000

Item = TypeVar("Item")
Load = Callable[[Sequence[Any]], list[Item]]


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list. Pages count from 1."""

    items: list[Item]
    number: int
    total_pages: int
    total_items: int

    def numbers(self) -> dict[str, int]:
        """Return what the pager beneath a list shows."""
        return {"page": self.number, "pages": self.total_pages, "total": self.total_items}


@dataclass(frozen=True)
class Stretch(Generic[Item]):
    """Some rows of a list that follow each other, newest first.

    `newer` and `older` are the keys that its neighbours are read from; None where there are none.
    """

    items: list[Item]
    newer: int | None
    older: int | None


def read_page(keys: Select[Any], order: tuple[Any, ...], load: Load[Item], number: int, limit: int) -> Page[Item]:
    """Return a page of what `keys` finds, in this order, the last column of which is unique.

    `load` returns the rows of the keys that it is given, in the same order.
    """
    shown = db.session.scalars(keys.order_by(*order).offset((number - 1) * limit).limit(limit)).all()
    ends_here = len(shown) < limit and (number == 1 or bool(shown))
    total = (number - 1) * limit + len(shown) if ends_here else _count(keys)
    return Page(load(shown), number, max(1, -(-total // limit)), total)


def read_stretch(
    keys: Select[Any], key: Any, load: Load[Item], limit: int, before: int | None = None, after: int | None = None
) -> Stretch[Item]:
    """Return the newest rows, or those next `before` (older than) a key, or next `after` (newer than) one.

    `key` is the column that `keys` selects: unique, and growing with time. `load` is as above. Where too little is left
    for a page of its own the newest rows are returned.
    """
    newest_first = keys.order_by(key.desc()).limit(limit + 1)
    if after is not None:
        found = db.session.scalars(keys.where(key > after).order_by(key).limit(limit + 1)).all()
        if len(found) > limit:
            shown = found[limit - 1 :: -1]
            return Stretch(load(shown), shown[0], shown[-1])
    elif before is not None:
        found = db.session.scalars(newest_first.where(key < before)).all()
        if found:
            return Stretch(load(found[:limit]), found[0], _next(found, limit))
    found = db.session.scalars(newest_first).all()
    return Stretch(load(found[:limit]), None, _next(found, limit))


def _next(found: Sequence[int], limit: int) -> int | None:
    """Return the key that older rows are read from, if one more than `limit` was found."""
    return found[limit - 1] if len(found) > limit else None


def _count(keys: Select[Any]) -> int:
    return db.session.scalar(select(func.count()).select_from(keys.order_by(None).subquery())) or 0
