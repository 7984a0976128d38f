"""One model of errors: the envelope under `/api/`, a page for browsers, a fragment for HTMX."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from autostack.errors import ConfigurationError
from autostack.web.access import public
from tests.conftest import AppMaker
from tests.people import Api, Browser

SECRET = "hunter2-of-the-database"


def envelope(answered: TestResponse) -> dict[str, Any]:
    """Return an error's insides, after a look at its frame."""
    assert answered.mimetype == "application/json"
    assert set(answered.json) == {"error"}
    error = answered.json["error"]
    assert set(error) == {"code", "message", "statusCode", "details"}
    assert error["statusCode"] == answered.status_code
    assert error["message"]
    return error


@public
def breaks() -> str:
    raise RuntimeError(SECRET)


@public
def is_misconfigured() -> str:
    raise ConfigurationError(SECRET)


@pytest.fixture
def broken(make_app: AppMaker) -> Flask:
    """The application, with routes that fail as none should."""
    app = make_app()
    for view in (breaks, is_misconfigured):
        app.add_url_rule(f"/api/{view.__name__}", view_func=view, endpoint=f"api_{view.__name__}")
        app.add_url_rule(f"/{view.__name__}", view_func=view)
    return app


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nowhere", 404, "NOT_FOUND"),
        ("GET", "/api/", 404, "NOT_FOUND"),
        ("GET", "/api/deployments/7", 404, "NOT_FOUND"),
        ("GET", "/api/deployments/00000000-0000-4000-8000-000000000000", 404, "DEPLOYMENT_NOT_FOUND"),
        ("PUT", "/api/deployments", 405, "METHOD_NOT_ALLOWED"),
        ("BREW", "/api/deployments", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/deployments?page=0", 422, "VALIDATION_ERROR"),
        ("POST", "/api/deployments", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_errors_of_the_api_are_in_the_envelope(api: Api, method: str, path: str, status: int, code: str) -> None:
    answered = api.client.open(path, method=method, headers=api.headers)
    assert (answered.status_code, envelope(answered)["code"]) == (status, code)


def test_a_wrong_method_is_told_the_right_ones(api: Api) -> None:
    assert set(api.put("/api/deployments").allow) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_an_invalid_body_has_all_its_fields_named(nobodys_api: Api) -> None:
    error = envelope(nobodys_api.post("/api/auth/signup", {"name": "", "email": "bob", "password": 7}))
    assert (error["code"], set(error["details"])) == ("VALIDATION_ERROR", {"name", "email", "password"})


def test_values_of_another_type_are_not_guessed_at(api: Api) -> None:
    for value in (0, "yes", "false"):
        error = envelope(api.put("/api/user/preferences", {"emailNotifications": value}))
        assert list(error["details"]) == ["emailNotifications"]


@pytest.mark.parametrize("view", ["breaks", "is_misconfigured"])
def test_what_goes_wrong_inside_stays_inside(broken: Flask, view: str) -> None:
    answered = broken.test_client().get(f"/api/{view}")
    error = envelope(answered)
    assert (answered.status_code, error["code"]) == (500, "INTERNAL_SERVER_ERROR")
    assert error["details"] == {"requestId": answered.headers["X-Request-ID"]}
    assert SECRET not in answered.text


def test_a_page_that_breaks_names_the_request_and_nothing_else(broken: Flask) -> None:
    page = Browser(broken).get("/breaks")
    assert (page.status_code, page.mimetype) == (500, "text/html")
    assert page.headers["X-Request-ID"] in page.text
    assert SECRET not in page.text


def test_a_browser_gets_a_page_and_htmx_a_fragment(browser: Browser) -> None:
    page = browser.get("/nowhere")
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "<!doctype html>" in page.text
    fragment = browser.get("/nowhere", headers={"HX-Request": "true"})
    assert fragment.status_code == 404
    assert fragment.text.startswith('<div class="problem"')


def test_a_path_with_double_slashes_leads_to_the_right_one(api: Api) -> None:
    moved = api.get("/api//deployments")
    assert (moved.status_code, moved.location) == (308, "http://localhost/api/deployments")
