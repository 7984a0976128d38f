"""Connections to PostgreSQL that wait for an answer so long and no longer.

PostgreSQL's own time-outs end what it works at too long; one that hangs, or a network that swallows everything, ends
nothing, and TCP's see no harm in a peer whose kernel goes on acknowledging.
"""

from __future__ import annotations

from typing import Any, TypeVar

from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
from sqlalchemy import Engine, event

T = TypeVar("T")


class BoundedConnection(Connection[Any]):
    """Raises OperationalError, and closes itself, when an answer takes longer than `timeout_s`; None waits for ever."""

    timeout_s: float | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """See psycopg. Ours is the limit where the caller has none."""
        if timeout is not None or self.timeout_s is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.timeout_s)
        except _WaitTimeout:
            # Nobody knows what its next answer would be to.
            self.pgconn.finish()
            raise OperationalError(f"PostgreSQL did not answer within {self.timeout_s} s") from None


def bound(engine: Engine, timeout_s: float) -> None:
    """Have the engine's connections wait `timeout_s` for an answer."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> BoundedConnection:
        connection = BoundedConnection.connect(*arguments, **options)
        connection.timeout_s = timeout_s
        return connection
