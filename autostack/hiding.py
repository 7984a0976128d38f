"""Rows that are still stored, and that no query finds: what was deleted goes in batches, which takes its time.

A rule stands beside its model, and holds for every SELECT, UPDATE and DELETE of the ORM that selects from the model or
joins it, in subqueries too; its lazy loads and `session.get` included. It does not hold for `exists().where(Model...)`,
which names no model to select from: `select(Model.id).where(...)` asks the same. `table_of(model)` sees all.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, Table, event
from sqlalchemy.orm import ORMExecuteState, with_loader_criteria
from sqlalchemy.sql.base import ExecutableOption

from autostack.extensions import db

_rules: list[ExecutableOption] = []


def show_only(model: type[Any], shown: ColumnElement[bool]) -> None:
    """Have every query leave out the model's rows that `shown` is not true of."""
    _rules.append(with_loader_criteria(model, shown, include_aliases=True))


def table_of(model: type[Any]) -> Table:
    """Return the model's table, with every row."""
    return cast(Table, model.__table__)


@event.listens_for(db.session, "do_orm_execute")
def _leave_out(execution: ORMExecuteState) -> None:
    if execution.is_orm_statement and not execution.is_insert:
        execution.statement = execution.statement.options(*_rules)
