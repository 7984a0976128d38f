"""Accounts over the JSON API."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from autostack.accounts.models import Session, User, UserPreferences
from autostack.extensions import db
from tests.people import PASSWORD, Api, Browser, Person

BOB: dict[str, Any] = {"name": "Bob", "email": "bob@example.com", "password": PASSWORD}


def log_in(api: Api, person: Person) -> dict[str, Any]:
    answered = api.post("/api/auth/login", {"email": person.email, "password": person.password})
    assert answered.status_code == 200
    return answered.json


def sessions(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(Session))


def test_signing_up_gives_tokens_that_work_at_once(app: Flask, nobodys_api: Api) -> None:
    answered = nobodys_api.post("/api/auth/signup", {**BOB, "email": " Bob@Example.COM "})
    assert answered.status_code == 201
    assert set(answered.json) == {"token", "refreshToken", "expiresIn", "user"}
    assert answered.json["expiresIn"] == 7 * 86_400
    user = answered.json["user"]
    assert set(user) == {"id", "name", "email", "avatarUrl", "emailVerified", "createdAt"}
    assert (user["name"], user["email"], user["emailVerified"]) == ("Bob", "bob@example.com", False)
    assert answered.headers["Cache-Control"] == "no-store"
    session = Api(app, answered.json["token"]).get("/api/auth/session")
    assert session.json["user"] == user
    assert session.json["expiresAt"].endswith("Z")


def test_a_new_account_has_preferences_and_its_password_is_hashed(app: Flask, nobodys_api: Api) -> None:
    nobodys_api.post("/api/auth/signup", BOB)
    with app.app_context():
        user = db.session.scalars(select(User)).one()
        assert user.password_hash.startswith("$2b$")
        assert db.session.scalars(select(UserPreferences)).one().user_id == user.id


def test_an_address_is_taken_whatever_its_case(nobodys_api: Api, alice: Person) -> None:
    answered = nobodys_api.post("/api/auth/signup", {**BOB, "email": "ALICE@example.com"})
    assert answered.status_code == 409
    assert answered.json["error"]["code"] == "EMAIL_TAKEN"
    assert answered.json["error"]["statusCode"] == 409


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "  "),
        ("name", "x" * 256),
        ("name", "a\nb"),
        ("email", "bob"),
        ("email", "bob@localhost"),
        ("email", "a b@example.com"),
        ("email", "x" * 250 + "@example.com"),
        ("password", "short"),
        ("password", "x" * 73),
        ("password", "é" * 40),
        ("password", 12345678),
        ("password", None),
    ],
)
def test_a_wrong_field_is_named(nobodys_api: Api, field: str, value: object) -> None:
    answered = nobodys_api.post("/api/auth/signup", {**BOB, field: value})
    assert answered.status_code == 422
    assert answered.json["error"]["code"] == "VALIDATION_ERROR"
    assert set(answered.json["error"]["details"]) == {field}


def test_a_nul_character_is_refused_before_the_database_sees_it(nobodys_api: Api) -> None:
    assert nobodys_api.post("/api/auth/signup", {**BOB, "name": "a\0b"}).status_code == 422
    assert nobodys_api.post("/api/auth/login", {**BOB, "email": "a\0b@example.com"}).status_code == 422


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"name": "\\ud800"}', "application/json", 400),
        (b"null", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b'{"name": "' + b"x" * 1_100_000 + b'"}', "application/json", 413),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    nobodys_api: Api, body: bytes, content_type: str, status: int
) -> None:
    answered = nobodys_api.client.post("/api/auth/signup", data=body, content_type=content_type)
    assert answered.status_code == status
    assert answered.json["error"]["statusCode"] == status


def test_logging_in_gives_the_same_shape(nobodys_api: Api, alice: Person) -> None:
    answered = log_in(nobodys_api, alice)
    assert set(answered) == {"token", "refreshToken", "expiresIn", "user"}
    assert answered["user"]["id"] == str(alice.id)


def test_a_wrong_password_an_unknown_address_and_a_closed_account_get_one_answer(
    app: Flask, nobodys_api: Api, alice: Person, charlie: Person
) -> None:
    with app.app_context():
        db.session.execute(update(User).where(User.id == charlie.id).values(is_active=False))
        db.session.commit()
    answers = [
        nobodys_api.post("/api/auth/login", {"email": email, "password": password})
        for email, password in [
            (alice.email, "not her password"),
            ("nobody@example.com", PASSWORD),
            (charlie.email, PASSWORD),
        ]
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json["error"]["code"] == "INVALID_CREDENTIALS"


def test_logging_out_ends_the_token_and_its_refresh_token(app: Flask, nobodys_api: Api, alice: Person) -> None:
    tokens, other = log_in(nobodys_api, alice), log_in(nobodys_api, alice)
    hers = Api(app, tokens["token"])
    assert hers.post("/api/auth/logout").status_code == 204
    assert hers.get("/api/auth/session").status_code == 401
    assert hers.post("/api/auth/logout").status_code == 401
    assert nobodys_api.post("/api/auth/refresh", {"refreshToken": tokens["refreshToken"]}).status_code == 401
    assert Api(app, other["token"]).get("/api/auth/session").status_code == 200


def test_logging_a_token_out_leaves_a_cookie_that_came_along_alone(browser: Browser, charlie: Person) -> None:
    headers = {"Authorization": f"Bearer {charlie.token}"}
    assert browser.client.post("/api/auth/logout", headers=headers).status_code == 204
    assert browser.get("/api/auth/session").json["user"]["name"] == "Alice"


def test_a_closed_account_cannot_use_the_tokens_that_it_has(app: Flask, api: Api, alice: Person) -> None:
    with app.app_context():
        db.session.execute(update(User).where(User.id == alice.id).values(is_active=False))
        db.session.commit()
    assert api.get("/api/auth/session").status_code == 401


def test_refreshing_gives_a_new_pair_in_the_same_session(app: Flask, nobodys_api: Api, alice: Person) -> None:
    tokens = log_in(nobodys_api, alice)
    before = sessions(app)
    renewed = nobodys_api.post("/api/auth/refresh", {"refreshToken": tokens["refreshToken"]})
    assert renewed.status_code == 200
    assert set(renewed.json) == {"token", "refreshToken", "expiresIn", "user"}
    assert renewed.json["refreshToken"] != tokens["refreshToken"]
    assert Api(app, renewed.json["token"]).get("/api/auth/session").status_code == 200
    assert sessions(app) == before


def test_a_refresh_token_used_twice_ends_the_session_of_both(app: Flask, nobodys_api: Api, alice: Person) -> None:
    tokens = log_in(nobodys_api, alice)
    renewed = nobodys_api.post("/api/auth/refresh", {"refreshToken": tokens["refreshToken"]}).json
    assert nobodys_api.post("/api/auth/refresh", {"refreshToken": tokens["refreshToken"]}).status_code == 401
    assert nobodys_api.post("/api/auth/refresh", {"refreshToken": renewed["refreshToken"]}).status_code == 401
    assert Api(app, renewed["token"]).get("/api/auth/session").status_code == 401


def test_a_refresh_token_used_twice_at_once_is_good_once_at_most(app: Flask, nobodys_api: Api, alice: Person) -> None:
    body = {"refreshToken": log_in(nobodys_api, alice)["refreshToken"]}
    statuses: list[int] = []

    def use() -> None:
        statuses.append(Api(app).post("/api/auth/refresh", body).status_code)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) <= 1
    assert set(statuses) <= {200, 401}


def test_an_access_token_is_no_refresh_token_and_the_reverse(app: Flask, nobodys_api: Api, alice: Person) -> None:
    tokens = log_in(nobodys_api, alice)
    assert nobodys_api.post("/api/auth/refresh", {"refreshToken": tokens["token"]}).status_code == 401
    assert Api(app, tokens["refreshToken"]).get("/api/auth/session").status_code == 401


def test_an_ended_session_is_worth_nothing_and_goes_with_the_next_sign_in(
    app: Flask, nobodys_api: Api, api: Api, alice: Person
) -> None:
    with app.app_context():
        db.session.execute(update(Session).values(expires_at=func.now()))
        db.session.commit()
    assert api.get("/api/auth/session").status_code == 401
    log_in(nobodys_api, alice)
    assert sessions(app) == 1


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "Bearer a.b.c", "bearer ä"])
def test_a_header_that_is_no_token_is_nobody(nobodys_api: Api, header: str) -> None:
    answered = nobodys_api.client.get("/api/auth/session", headers={"Authorization": header})
    assert answered.status_code == 401
    assert answered.json["error"]["code"] == "UNAUTHORIZED"


def test_pages_take_no_bearer_token(app: Flask, alice: Person) -> None:
    answered = app.test_client().get("/projects", headers={"Authorization": f"Bearer {alice.token}"})
    assert answered.status_code == 302
    assert answered.location == "/login?next=/projects"


@pytest.mark.parametrize("path", ["signup", "login", "logout", "refresh"])
def test_get_is_no_way_to_change_anything(api: Api, path: str) -> None:
    answered = api.get(f"/api/auth/{path}")
    assert answered.status_code == 405
    assert answered.json["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert "POST" in answered.headers["Allow"]


def test_the_api_sets_no_cookie(nobodys_api: Api, alice: Person) -> None:
    answered = nobodys_api.post("/api/auth/login", {"email": alice.email, "password": alice.password})
    assert "Set-Cookie" not in answered.headers


@pytest.mark.parametrize("remember", [True, "on", None])
def test_what_only_the_page_asks_at_a_log_in_means_nothing_to_the_api(
    nobodys_api: Api, alice: Person, remember: Any
) -> None:
    credentials = {"email": alice.email, "password": alice.password}
    answered = nobodys_api.post("/api/auth/login", {**credentials, "remember": remember})
    assert (answered.status_code, answered.json["expiresIn"]) == (200, 7 * 86_400)
    schemas = nobodys_api.get("/api/openapi.json").json["components"]["schemas"]
    assert set(schemas["LogInIn"]["properties"]) == {"email", "password"}


def test_a_browsers_cookie_signs_in_to_the_api_too(browser: Browser) -> None:
    assert browser.get("/api/auth/session").json["user"]["name"] == "Alice"


def test_a_bearer_token_counts_for_more_than_a_cookie(browser: Browser, charlie: Person) -> None:
    headers = {"Authorization": f"Bearer {charlie.token}"}
    assert browser.get("/api/auth/session", headers=headers).json["user"]["name"] == "Charlie"
    broken = browser.get("/api/auth/session", headers={"Authorization": "Bearer x"})
    assert broken.status_code == 401
