"""The deletion of an account outlives whoever carries it out: web that is killed, a worker that is, a flushed Redis."""

from __future__ import annotations

import contextlib
import threading

import httpx2
import psutil
import psycopg
import pytest

from tests.faults.watching import environment_of, wait_for
from tests.processes import kill
from tests.stack import PASSWORD

pytestmark = pytest.mark.slow

NAMED = "{}@example.com"


def delete_account(stack):
    """Ask for it; the answer may be lost with the process that made it."""
    with contextlib.suppress(httpx2.HTTPError):
        stack.client.request("DELETE", "/api/user/account", json={"password": PASSWORD})


def count(database, query, email):
    return database.execute(f"SELECT count(*) FROM users WHERE email = %s AND {query}", [email]).fetchone()[0]


def is_free_again(stack, database, email):
    wait_for(lambda: not count(database, "true", email))
    wait_for(lambda: stack.client.get("/healthz").is_success)
    return bool(stack.sign_up(email)["user"])


def test_web_that_is_killed_once_the_account_is_closed(stack, database, redis, slow_repository):
    email = NAMED.format("web-is-killed")
    stack.sign_up(email)
    site = stack.ended(stack.deploy(slow_repository()[0], envVars="SECONDS=0"))
    assert stack.get_site(site["url"]).text == "built"
    workers = stack.processes("worker.py", "control")
    for worker in workers:
        worker.suspend()
    asking = threading.Thread(target=delete_account, args=[stack])
    asking.start()
    wait_for(lambda: count(database, "deletion_asked_at IS NOT NULL", email))
    kill(stack.web_workers())
    redis.flushall()
    asking.join()
    assert count(database, "NOT is_active", email)
    for worker in workers:
        worker.resume()
    assert is_free_again(stack, database, email)
    assert wait_for(lambda: stack.get_site(site["url"]).status_code == 404)


def test_a_worker_that_is_killed_between_two_projects(stack, database, slow_repository):
    email, url = NAMED.format("worker-is-killed"), slow_repository()[0]
    stack.sign_up(email)
    for name in ("one", "two"):
        stack.call("POST", "/api/projects", {"name": name, "repository": url}, 201)
    with psycopg.connect(environment_of(stack)["DATABASE_URL"]) as holder:
        holder.execute("SELECT 1 FROM projects WHERE name = 'two' FOR UPDATE")
        delete_account(stack)
        wait_for(lambda: database.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())
        [worker] = stack.processes("worker.py", "control")[:1]
        for process in (*worker.children(recursive=True), worker):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert count(database, "true", email) == 1
    assert is_free_again(stack, database, email)
    assert database.execute("SELECT count(*) FROM projects WHERE name IN ('one', 'two')").fetchone()[0] == 0
