"""What PostgreSQL does for us beside the ORM: answers with less than a transaction, and locks that outlast one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import structlog
from psycopg import Connection
from psycopg import OperationalError as NoAnswer
from psycopg.errors import LockNotAvailable
from sqlalchemy import ColumnElement, Select, Table, any_, delete, func, literal_column, select
from sqlalchemy import Connection as Session
from sqlalchemy.dialects.postgresql import psycopg as dialect
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from autostack.extensions import Base, db, rowcount

log = structlog.stdlib.get_logger(__name__)

Model = TypeVar("Model", bound=Base)
Found = TypeVar("Found", bound=tuple[Any, ...])


def glance(statement: Select[Found], **values: object) -> Found | None:
    """Return the row that a statement finds, as the driver reads it, outside of any transaction.

    One round trip instead of three, and a fifth of the work: for what is asked with every request. Raises SQLAlchemy's
    OperationalError.
    """
    try:
        lent = db.engine.raw_connection()
        try:
            return _find(cast(Connection[Found], lent.driver_connection), _sql(statement), values)
        except NoAnswer as error:
            lent.invalidate(error)
            raise
        finally:
            lent.close()
    except NoAnswer as error:
        raise OperationalError(None, None, error) from error


def delete_some(table: Table, which: ColumnElement[bool], limit: int) -> int:
    """Delete at most `limit` of the rows that `which` is true of, in the current transaction; return how many.

    By where they lie: a join with what is to go would be planned by how many rows PostgreSQL believes there are, and
    where it has not counted since the table grew, it compares each row with each.
    """
    ctid: ColumnElement[str] = literal_column("ctid")
    lie = select(ctid).select_from(table).where(which).limit(limit)
    return rowcount(db.session.execute(delete(table).where(ctid == any_(func.array(lie.scalar_subquery())))))


def known(model: type[Model], **facts: object) -> Model:
    """Return a row that is known to exist, in the current session: its `facts`, among them its id, need no reading.

    Anything else about it is read when it is asked for; that raises ObjectDeletedError if it is gone by then.
    """
    row = db.session.identity_map.get(db.session.identity_key(model, facts["id"]))
    if row is None:
        row = model()
        for name, value in facts.items():
            set_committed_value(row, name, value)
        make_transient_to_detached(row)
        db.session.add(row)
    return cast(Model, row)


@contextmanager
def session_lock(number: int, *, waits: bool) -> Iterator[bool]:
    """Hold an advisory lock for the block; yield False if another has it, or, with `waits`, keeps it for long.

    It is of a session of its own, and in that no transaction is open: one that is keeps PostgreSQL from cleaning up,
    and may be ended as idle. If the session is lost, so is the lock.
    """
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not _is_locked(connection, number, waits):
            yield False
            return
        try:
            yield True
        finally:
            _unlock(connection, number)


def _is_locked(connection: Session, number: int, waits: bool) -> bool:
    if not waits:
        return bool(connection.scalar(select(func.pg_try_advisory_lock(number))))
    try:
        connection.execute(select(func.pg_advisory_lock(number)))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        return False
    return True


def _unlock(connection: Session, number: int) -> None:
    try:
        connection.execute(select(func.pg_advisory_unlock(number)))
    except SQLAlchemyError as error:
        # The lock goes with its session, which must not go back to the pool.
        connection.invalidate()
        log.warning("a lock was lost with its session", lock=number, error=str(error).partition("\n")[0])


def _find(connection: Connection[Found], sql: str, values: dict[str, object]) -> Found | None:
    connection.autocommit = True
    try:
        return connection.execute(sql, values, prepare=True).fetchone()
    finally:
        if not connection.closed:
            connection.autocommit = False


@cache
def _sql(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=dialect.dialect()))  # type: ignore[no-untyped-call]
