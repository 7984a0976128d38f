"""12. PostgreSQL hung → requests time out with 503, the pool recovers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
from sqlalchemy import text

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
    app = make_app(database_timeout_s=1)

    def ask(_=None):
        return app.test_client().get("/api/projects", headers=api.headers).status_code

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(ask, range(4))) == [200] * 4
        with hung_postgres(app):
            assert list(pool.map(ask, range(4))) == [503] * 4
        assert list(pool.map(ask, range(4))) == [200] * 4
    with app.app_context():
        assert db.engine.pool.checkedout() == 0
