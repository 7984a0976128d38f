"""10. Redis full or read-only → what is committed is accepted and enqueued later; limits and sessions fall back."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue

from autostack.builds import sweep
from autostack.queue import BUILDS, waiting
from tests.people import Api, Browser


@contextmanager
def full(redis):
    """A Redis whose memory is used up, and which gives up nothing for what is new."""
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "1")
    try:
        yield
    finally:
        redis.config_set("maxmemory", "0")


@contextmanager
def read_only(redis):
    """A Redis that was made a replica: of nobody, so that it keeps what it has."""
    redis.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        redis.replicaof("NO", "ONE")


@pytest.fixture(params=[full, read_only])
def trouble(request, app, redis_url):
    """Have Redis take nothing any more."""
    with Redis.from_url(redis_url) as redis, request.param(redis):
        with pytest.raises(ResponseError):
            redis.set("a", "b")
        yield


@pytest.fixture
def limited(make_app):
    return make_app(rate_limit_api="3/minute", rate_limit_auth="3/minute")


@pytest.fixture
def heal(redis_url):
    def heal():
        with Redis.from_url(redis_url) as redis:
            redis.config_set("maxmemory", "0")
            redis.replicaof("NO", "ONE")

    return heal


def test_f10_a_deployment_is_accepted_and_enqueued_once_redis_takes_it(app, api, project, trouble, heal):
    answered = api.post("/api/deployments", {"projectId": project["id"]})
    assert (answered.status_code, answered.json["status"]) == (201, "queued")
    id = answered.json["id"]
    with app.app_context():
        sweep.sweep()
        assert id not in waiting(BUILDS)
        heal()
        sweep.sweep()
        assert id in waiting(BUILDS)
        assert len(Queue(BUILDS, connection=Redis.from_url(app.config["AUTOSTACK"].redis_url.get_secret_value()))) == 1


def test_f10_who_is_signed_in_stays_so_and_who_is_not_signs_in(app, browser, alice, api, trouble):
    assert browser.get("/deployments").status_code == 200
    assert api.get("/api/auth/session").status_code == 200
    assert Browser(app).sign_in(alice).get("/deployments").status_code == 200
    assert Api(app).post("/api/auth/login", {"email": alice.email, "password": alice.password}).status_code == 200
    made = {"name": "Dora", "email": "dora@example.com", "password": "correct horse battery"}
    assert Api(app).post("/api/auth/signup", made).status_code == 201


def test_f10_limits_hold(limited, alice, trouble):
    api = Api(limited, alice.token)
    assert [api.get("/api/projects").status_code for _ in range(4)] == [200, 200, 200, 429]
    given = {"email": alice.email, "password": "wrong password"}
    assert [Api(limited).post("/api/auth/login", given).status_code for _ in range(4)] == [401, 401, 401, 429]
