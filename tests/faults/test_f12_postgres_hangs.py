"""12. PostgreSQL hung → requests time out with 503, the pool recovers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import psutil
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from autostack import bounded
from autostack.extensions import db
from tests.faults.watching import wait_for


@contextmanager
def hung_postgres(app) -> Iterator[None]:
    """Stop PostgreSQL, the server and every one of its processes, as a hang does: sockets stay open."""
    with app.app_context():
        backend = psutil.Process(db.session.scalar(text("SELECT pg_backend_pid()")))
    server = backend.parent()
    with ExitStack() as stopped:
        server.suspend()
        stopped.callback(server.resume)
        # It starts no more; some of those that it has, such as autovacuum's, may end.
        for process in server.children():
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                stopped.callback(process.resume)
        yield


def test_f12_requests_are_answered_503_while_postgres_hangs_and_as_ever_afterwards(make_app, api):
    app = make_app(database_timeout_s=4)

    def ask(_=None):
        return app.test_client().get("/api/projects", headers=api.headers).status_code

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(ask, range(4))) == [200] * 4
        with hung_postgres(app):
            assert list(pool.map(ask, range(4))) == [503] * 4
        assert list(pool.map(ask, range(4))) == [200] * 4
    with app.app_context():
        assert db.engine.pool.checkedout() == 0


def test_f12_a_connection_that_was_idle_when_postgres_let_go_of_it_is_noticed_in_time(make_app, api):
    app = make_app(database_pool_size=2)
    ask = partial(app.test_client().get, "/api/projects", headers=api.headers)
    assert ask().status_code == 200
    with app.app_context(), db.engine.connect() as connection:
        idle = connection.connection.driver_connection
    with psycopg.connect(idle.info.dsn) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [idle.info.backend_pid])
    # As it is for one that nobody has used for a while.
    idle.heard_at -= bounded.TRUSTED_S
    assert ask().status_code == 200


def test_f12_what_nobody_waits_for_any_more_is_ended_by_postgres_and_holds_no_lock(app, make_app):
    impatient = make_app(database_timeout_s=1)
    with impatient.app_context(), pytest.raises(OperationalError, match="did not answer"):
        db.session.execute(text("LOCK TABLE users; SELECT pg_sleep(3600)"))
    with app.app_context():
        working = text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND state = 'active'")
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:
            wait_for(lambda: watching.scalar(working) == 0)
            watching.execute(text("BEGIN; LOCK TABLE users; COMMIT"))
