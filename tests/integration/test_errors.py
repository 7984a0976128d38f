"""One model of errors: the envelope under `/api/`, a page for browsers, a fragment for HTMX."""

from __future__ import annotations

from typing import Any

import pytest
from bs4 import BeautifulSoup
from flask import Flask, abort
from werkzeug.test import TestResponse

from autostack.errors import ConfigurationError
from autostack.web.access import public
from autostack.web.operations import operation
from autostack.web.schemas import Schema
from tests.conftest import AppMaker
from tests.log_lines import recorded
from tests.people import Api, Browser, Person

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


class Count(Schema):
    count: int


@public
@operation()
def answers_wrongly(query: Count) -> Count:
    """Answer with what its own model refuses."""
    return Count.model_validate({"count": SECRET})


@public
def is_misconfigured() -> str:
    raise ConfigurationError(SECRET)


@pytest.fixture
def broken(make_app: AppMaker) -> Flask:
    """The application, with routes that fail as none should."""
    app = make_app()
    for view in (answers_wrongly, breaks, is_misconfigured):
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


def test_what_is_not_there_is_said_in_our_words(nobodys_api: Api, nobodys_browser: Browser) -> None:
    assert envelope(nobodys_api.get("/api/nowhere"))["message"] == "Nothing is at this address."
    assert "Nothing is at this address." in nobodys_browser.get("/nowhere").text
    assert "another kind of request" in nobodys_browser.post("/pricing").text


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


def test_a_model_of_ours_that_does_not_fit_is_our_fault_and_one_of_the_request_its_callers(broken: Flask) -> None:
    client = broken.test_client()
    asked_wrongly = client.get("/api/answers_wrongly?count=many")
    assert (asked_wrongly.status_code, list(envelope(asked_wrongly)["details"])) == (422, ["count"])
    with recorded(broken.config["AUTOSTACK"]) as lines:
        answered = client.get("/api/answers_wrongly?count=1")
        said = lines.read()
    assert (answered.status_code, envelope(answered)["code"]) == (500, "INTERNAL_SERVER_ERROR")
    request_id = answered.headers["X-Request-ID"]
    assert envelope(answered)["details"] == {"requestId": request_id}
    assert request_id in said
    assert "Traceback" in said
    assert "ValidationError" in said
    assert SECRET not in answered.text + said


def test_a_page_whose_model_does_not_fit_is_our_fault_too(broken: Flask) -> None:
    page = Browser(broken).get("/answers_wrongly?count=1")
    assert (page.status_code, page.mimetype) == (500, "text/html")
    assert page.headers["X-Request-ID"] in page.text


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


def ways(answered: TestResponse) -> list[str]:
    """Return where an error's page, or its fragment, leads on."""
    return [link["href"] for link in BeautifulSoup(answered.text, "html.parser").select(".problem a")]


@public
def refuses(status: int) -> str:
    abort(status)


@pytest.mark.parametrize("status", [403, 404, 405, 413, 429, 500, 503])
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_every_error_has_a_way_on_for_strangers_and_for_users(
    make_app: AppMaker, alice: Person, status: int, headers: dict[str, str]
) -> None:
    app = make_app()
    app.add_url_rule("/refuses/<int:status>", view_func=refuses)
    stranger, user = Browser(app), Browser(app).sign_in(alice)
    again = [f"/refuses/{status}"] if status in {429, 500, 503} and not headers else []
    for visitor, expected in ((stranger, ["/", "/login"]), (user, ["/dashboard", "/deployments"])):
        answered = visitor.get(f"/refuses/{status}", headers=headers)
        assert answered.status_code == status
        assert ways(answered) == again + expected
        for path in expected:
            assert visitor.get(path).status_code == 200


def test_a_form_that_is_refused_leads_back_to_it(browser: Browser) -> None:
    too_much = browser.post(
        "/projects/new", {"name": "x" * 1_100_000}, headers={"Referer": "http://localhost/projects/new"}
    )
    assert too_much.status_code == 413
    assert ways(too_much)[0] == "/projects/new"
    elsewhere = browser.post("/nowhere", headers={"Referer": "http://evil.example/projects"})
    assert ways(elsewhere) == ["/dashboard", "/deployments"]


def test_a_path_with_double_slashes_leads_to_the_right_one(api: Api) -> None:
    moved = api.get("/api//deployments")
    assert (moved.status_code, moved.location) == (308, "http://localhost/api/deployments")
