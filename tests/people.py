"""Who uses Autostack in tests, and how: over the API with a bearer token, or on pages in a browser."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from flask import Flask, session
from flask.testing import FlaskClient
from flask_wtf.csrf import generate_csrf
from werkzeug.test import TestResponse

from autostack.accounts import service, sessions

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Person:
    """Somebody with an account; `token` is an access token of theirs."""

    id: uuid.UUID
    name: str
    email: str
    token: str
    password: str = PASSWORD


def make_person(app: Flask, name: str, email: str) -> Person:
    """Sign somebody up and in."""
    with app.app_context():
        user = service.sign_up(name, email, PASSWORD)
        return Person(user.id, user.name, user.email, sessions.open_api_session(user).access)


class Api:
    """An API client: JSON bodies, no cookies, a bearer token if it has one."""

    def __init__(self, app: Flask, token: str | None = None) -> None:
        self.client = app.test_client(use_cookies=False)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, headers=self.headers, **options)

    def post(self, path: str, json: Any = None) -> TestResponse:
        return self.client.post(path, json=json, headers=self.headers)

    def patch(self, path: str, json: Any = None) -> TestResponse:
        return self.client.patch(path, json=json, headers=self.headers)

    def put(self, path: str, json: Any = None) -> TestResponse:
        return self.client.put(path, json=json, headers=self.headers)

    def delete(self, path: str, json: Any = None) -> TestResponse:
        return self.client.delete(path, json=json, headers=self.headers)


class Browser:
    """A browser with a cookie jar, whose forms carry their CSRF token."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def post(self, path: str, data: dict[str, Any] | None = None, **options: Any) -> TestResponse:
        return self.client.post(path, data={"csrf_token": self.csrf_token(), **(data or {})}, **options)

    def sign_in(self, person: Person, **fields: str) -> Browser:
        """Log in on the page."""
        answered = self.post("/login", {"email": person.email, "password": person.password, **fields})
        assert answered.status_code == 303, answered.text
        return self

    def csrf_token(self) -> str:
        """Return what this browser's pages have in their forms now."""
        with self.client.session_transaction() as kept:
            kept.modified = True
            seed = kept["csrf_token"]
        with self.app.test_request_context():
            session["csrf_token"] = seed
            return generate_csrf()

    def cookie(self) -> str | None:
        """Return the session cookie as it stands."""
        kept = self.client.get_cookie("session")
        return kept.value if kept else None
