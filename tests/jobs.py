"""Doing what waits in a queue, as its workers do, and serving an application as gunicorn does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from rq import Queue
from werkzeug.serving import make_server

from autostack.extensions import redis
from autostack.queue import CONTROL


def work_off(app: Flask, queue: str = CONTROL) -> list[str]:
    """Do the jobs that wait, and those that they ask for; return their names."""
    done = []
    with app.app_context():
        waiting = Queue(queue, connection=redis())
        while jobs := waiting.get_jobs():
            for job in jobs:
                waiting.remove(job)
                job.func(*job.args)
                done.append(job.func.__name__)
    return done


@contextmanager
def serving_app(app: Flask, port: int) -> Iterator[None]:
    """Have an application answer on a port until the block ends."""
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
