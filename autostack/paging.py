"""Reading a list page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, func, literal, select

from autostack.extensions import db

MAX_PAGE_SIZE = 100
MAX_PAGE = 1_000_000

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list. Pages count from 1."""

    items: list[Item]
    number: int
    total_pages: int
    total_items: int


def read_page(found: Select[Any], order: tuple[Any, ...], number: int, limit: int) -> Page[Any]:
    """Return a page of what a query finds, in this order, the last column of which is unique."""
    counted = found.add_columns(func.count().over())
    rows = db.session.execute(counted.order_by(*order).offset((number - 1) * limit).limit(limit)).all()
    total = rows[0][1] if rows else _count(found) if number > 1 else 0
    return Page([row[0] for row in rows], number, max(1, -(-total // limit)), total)


def _count(found: Select[Any]) -> int:
    counted = found.with_only_columns(literal(1), maintain_column_froms=True).subquery()
    return db.session.scalar(select(func.count()).select_from(counted)) or 0
