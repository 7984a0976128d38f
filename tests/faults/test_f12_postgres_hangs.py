"""12. PostgreSQL hung → requests time out with 503, the pool recovers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import psutil
import psycopg
from sqlalchemy import text

from autostack import bounded
from autostack.extensions import db


@contextmanager
def hung_postgres(app) -> Iterator[None]:
    """Stop PostgreSQL, the server and every one of its processes, as a hang does: sockets stay open."""
    with app.app_context():
        backend = psutil.Process(db.session.scalar(text("SELECT pg_backend_pid()")))
    server = backend.parent()
    with ExitStack() as stopped:
        for process in (server, *server.children()):
            process.suspend()
            stopped.callback(process.send_signal, signal.SIGCONT)
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
