"""Connections to PostgreSQL that wait for an answer so long and no longer, and that live when they are taken.

PostgreSQL ends what it works at once it sees that nobody waits any more (`client_connection_check_interval`); one that
hangs, or a network that swallows everything, ends nothing, and TCP's time-outs see no harm in a peer whose kernel goes
on acknowledging.
"""

from __future__ import annotations

import time
from typing import Any, TypeVar

from psycopg import Connection, OperationalError
from psycopg import Error as PsycopgError
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

T = TypeVar("T")

# A server that answered just now is taken to be there still.
TRUSTED_S = 1.0


class BoundedConnection(Connection[Any]):
    """Raises OperationalError, and closes itself, when an answer takes longer than `timeout_s`; None waits for ever."""

    timeout_s: float | None = None
    # By the monotonic clock: when the server last answered.
    heard_at: float = 0.0

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """See psycopg. Ours is the limit where the caller has none."""
        try:
            answered = super().wait(gen, interval, self.timeout_s if timeout is None else timeout)
            self.heard_at = time.monotonic()
            return answered
        except _WaitTimeout:
            if timeout is not None:
                raise
            # Nobody knows what its next answer would be to.
            self.pgconn.finish()
            raise OperationalError(f"PostgreSQL did not answer within {self.timeout_s} s") from None


def bound(engine: Engine, timeout_s: float) -> None:
    """Have the engine's connections wait `timeout_s` for an answer, and be asked for one if they were idle for long."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> BoundedConnection:
        connection = BoundedConnection.connect(*arguments, **options)
        connection.timeout_s = timeout_s
        return connection

    @event.listens_for(engine, "checkout")
    def check(connection: Any, _record: Any, _proxy: Any) -> None:
        # Asking each time would cost every request a round trip: a tenth of what the API's list takes.
        if time.monotonic() - connection.heard_at > TRUSTED_S:
            try:
                engine.dialect.do_ping(connection)
            except PsycopgError:
                # The pool makes a new one, and trusts none that is older.
                raise InvalidatePoolError from None
