"""The spec's three limits, with figures of the tests' own."""

from __future__ import annotations

import pytest
from flask import Flask

from autostack.errors import ConfigurationError
from autostack.extensions import redis
from autostack.settings import load_settings
from autostack.web.access import signed_in
from autostack.web.rate_limits import limit_deployments
from tests.conftest import AppMaker
from tests.people import Api, Browser, Person

WRONG = {"email": "nobody@example.com", "password": "wrong password"}


def test_logging_in_too_often_is_answered_in_the_envelope(make_app: AppMaker) -> None:
    api = Api(make_app(rate_limit_auth="3/minute"))
    assert [api.post("/api/auth/login", WRONG).status_code for _ in range(3)] == [401] * 3
    refused = api.post("/api/auth/login", WRONG)
    assert refused.status_code == 429
    assert refused.json["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Policy"] == '"authentication";q=3;w=60'
    assert refused.headers["RateLimit"] == f'"authentication";r=0;t={refused.headers["Retry-After"]}'


def test_login_signup_and_pages_count_together_by_address(make_app: AppMaker) -> None:
    app = make_app(rate_limit_auth="3/minute")
    api, browser = Api(app), Browser(app)
    assert api.post("/api/auth/login", WRONG).status_code == 401
    assert api.post("/api/auth/signup", {}).status_code == 422
    assert browser.post("/login", WRONG).status_code == 401
    assert browser.post("/signup", WRONG).status_code == 429
    assert browser.get("/login").status_code == 200
    elsewhere = api.client.post("/api/auth/login", json=WRONG, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert elsewhere.status_code == 401


def test_one_customers_ipv6_network_is_one_address(make_app: AppMaker) -> None:
    api = Api(make_app(rate_limit_auth="1/minute"))
    statuses = [
        api.client.post("/api/auth/login", json=WRONG, environ_base={"REMOTE_ADDR": address}).status_code
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:192.0.2.1", "::ffff:192.0.2.2")
    ]
    assert statuses == [401, 429, 401, 401, 401]


def test_a_forwarded_address_is_not_believed_without_trusted_proxies(make_app: AppMaker) -> None:
    client = make_app(rate_limit_auth="1/minute").test_client()
    statuses = [
        client.post("/api/auth/login", json=WRONG, headers={"X-Forwarded-For": f"192.0.2.{number}"}).status_code
        for number in range(3)
    ]
    assert statuses == [401, 429, 429]


@pytest.mark.parametrize(
    ("hops", "told", "counted"),
    [
        (1, ["192.0.2.1", "192.0.2.2"], [401, 401]),
        # What stands left of the trusted hops was written by the client itself.
        (1, ["198.51.100.1, 192.0.2.1", "198.51.100.2, 192.0.2.1"], [401, 429]),
        (2, ["192.0.2.1, 203.0.113.9", "192.0.2.2, 203.0.113.9"], [401, 401]),
        (2, ["198.51.100.1, 192.0.2.1, 203.0.113.9", "198.51.100.2, 192.0.2.1, 203.0.113.9"], [401, 429]),
        # Fewer hops than are trusted: it came around them, and counts for the address that it came from.
        (2, ["192.0.2.1", "192.0.2.2"], [401, 429]),
    ],
)
def test_exactly_the_trusted_hops_are_believed(
    make_app: AppMaker, hops: int, told: list[str], counted: list[int]
) -> None:
    client = make_app(rate_limit_auth="1/minute", trusted_proxies=hops).test_client()
    statuses = [
        client.post("/api/auth/login", json=WRONG, headers={"X-Forwarded-For": chain}).status_code for chain in told
    ]
    assert statuses == counted


def test_an_address_that_is_none_counts_like_any_other(make_app: AppMaker) -> None:
    client = make_app(rate_limit_auth="1/minute", trusted_proxies=1).test_client()
    statuses = [
        client.post("/api/auth/login", json=WRONG, headers={"X-Forwarded-For": "of my own"}).status_code
        for _ in range(2)
    ]
    assert statuses == [401, 429]


def test_the_api_is_limited_by_user_over_all_its_routes(make_app: AppMaker, alice: Person, charlie: Person) -> None:
    app = make_app(rate_limit_api="2/minute")
    hers = Api(app, alice.token)
    first = hers.get("/api/auth/session")
    assert (first.status_code, first.headers["RateLimit-Policy"]) == (200, '"api";q=2;w=60')
    assert first.headers["RateLimit"].startswith('"api";r=1;t=')
    assert "Retry-After" not in first.headers
    assert hers.post("/api/auth/refresh", {}).status_code == 422
    assert hers.get("/api/auth/session").status_code == 429
    assert Api(app, charlie.token).get("/api/auth/session").status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/no-such-thing"), ("PATCH", "/api/projects")])
def test_what_no_route_answers_counts_for_the_api(make_app: AppMaker, alice: Person, method: str, path: str) -> None:
    client = make_app(rate_limit_api="2/minute").test_client()
    ask = {"method": method, "headers": {"Authorization": f"Bearer {alice.token}"}}
    statuses = [client.open(path, **ask).status_code for _ in range(3)]
    assert statuses[0] in (404, 405)
    assert statuses == [statuses[0], statuses[0], 429]


def test_a_counter_whose_end_was_lost_gets_a_new_one(make_app: AppMaker, alice: Person) -> None:
    app = make_app(rate_limit_api="2/minute")
    hers = Api(app, alice.token)
    hers.get("/api/auth/session")
    with app.app_context():
        [name] = redis().keys(f"*user:{alice.id}*")
        redis().persist(name)
    left, reset_s = hers.get("/api/auth/session").headers["RateLimit"].split(";")[1:]
    assert left == "r=0"
    assert 0 < int(reset_s.removeprefix("t=")) <= 60
    with app.app_context():
        assert 0 < redis().ttl(name) <= 60


def test_deployments_have_a_limit_of_their_own_by_user(make_app: AppMaker, alice: Person, charlie: Person) -> None:
    app = make_app(rate_limit_deployments="1/hour", rate_limit_api="1/minute")
    view = signed_in(limit_deployments(lambda: "deployed"))
    app.add_url_rule("/api/test-deployments", view_func=view, endpoint="test", methods=["POST"])
    hers = Api(app, alice.token)
    assert [hers.post("/api/test-deployments").status_code for _ in range(2)] == [200, 429]
    assert Api(app, charlie.token).post("/api/test-deployments").status_code == 200
    assert hers.get("/api/auth/session").status_code == 200


@pytest.mark.parametrize("rate", ["", "many", "0/minute", "5/fortnight", "5 minutes"])
def test_a_rate_that_is_none_keeps_the_application_from_starting(rate: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a rate"):
        load_settings(rate_limit_auth=rate)


def test_pages_and_logins_do_not_count_for_the_api(make_app: AppMaker, alice: Person) -> None:
    app = make_app(rate_limit_api="1/minute")
    browser = Browser(app).sign_in(alice)
    for _ in range(3):
        assert browser.get("/projects").status_code == 200
        assert Api(app).post("/api/auth/login", WRONG).status_code == 401
    assert browser.get("/api/auth/session").status_code == 200


def test_limits_hold_while_redis_is_away(make_app: AppMaker, alice: Person) -> None:
    app: Flask = make_app(
        rate_limit_auth="2/minute", rate_limit_api="2/minute", redis_url="unix:///nonexistent/valkey.sock"
    )
    answers = [Api(app, alice.token).get("/api/auth/session") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    statuses = [Api(app).post("/api/auth/login", WRONG).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
