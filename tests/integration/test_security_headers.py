"""What every answer tells browsers, and who may call the API from pages of others."""

from __future__ import annotations

import re

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient

from autostack.errors import ConfigurationError
from autostack.settings import load_settings
from tests.conftest import AppMaker
from tests.people import Api, Browser, Person

FRONTEND = "https://app.example.com"
PREFLIGHT = {"Origin": FRONTEND, "Access-Control-Request-Method": "POST"}


@pytest.fixture
def production(make_app: AppMaker) -> Flask:
    """The application as it is in production."""
    secrets = dict.fromkeys(("secret_key", "jwt_secret", "refresh_token_secret"), "x" * 40)
    address = {"app_url": "https://autostack.example", "sites_domain": "sites.example", "bcrypt_rounds": 10}
    keys = Fernet.generate_key().decode()
    return make_app(environment="production", encryption_keys=keys, frontend_url=FRONTEND, **secrets, **address)


@pytest.mark.parametrize("path", ["/login", "/projects", "/api/projects", "/nowhere", "/healthz", "/static/app.css"])
def test_every_answer_has_the_headers(browser: Browser, path: str) -> None:
    headers = browser.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in headers


def test_scripts_run_by_a_nonce_of_each_answer(browser: Browser) -> None:
    seen = set()
    for _ in range(2):
        page = browser.get("/projects")
        nonces = set(re.findall(r'<script[^>]* nonce="([^"]+)"', page.text))
        assert len(nonces) == 1
        assert page.text.count("<script") == page.text.count('nonce="')
        assert f"script-src 'nonce-{nonces.copy().pop()}'" in page.headers["Content-Security-Policy"]
        seen |= nonces
    assert len(seen) == 2


@pytest.mark.parametrize("path", ["/projects", "/deployments", "/deploy", "/login", "/nowhere", "/api/projects"])
def test_what_is_somebodys_is_kept_by_no_cache(browser: Browser, path: str) -> None:
    assert browser.get(path).headers["Cache-Control"] == "no-store"


def test_files_may_be_kept(browser: Browser) -> None:
    assert "no-store" not in browser.get("/static/app.css").headers["Cache-Control"]


def test_production_insists_on_https(production: Flask) -> None:
    answered = production.test_client().get("/login", base_url="https://autostack.example")
    assert answered.headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
    assert "connect-src 'self' wss://autostack.example" in answered.headers["Content-Security-Policy"]
    cookie = answered.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))


def test_the_page_of_a_mails_link_can_be_sent_over_https(production: Flask) -> None:
    """Over HTTPS the CSRF protection reads the Referer, so a page's own policy must let it through."""
    client = production.test_client()
    address = "https://autostack.example/reset-password?token=secret"
    page = client.get(address, base_url="https://autostack.example")
    token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page.text)
    assert token is not None
    assert page.headers["Referrer-Policy"] == "same-origin"
    fields = {"csrf_token": token[1], "token": "secret", "password": "an entirely new one"}
    sent = client.post(
        "/reset-password", data=fields, headers={"Referer": address}, base_url="https://autostack.example"
    )
    assert sent.status_code == 422


def test_only_the_front_end_may_read_the_api(make_app: AppMaker, alice: Person) -> None:
    client = make_app(frontend_url=f"{FRONTEND}/start").test_client()
    headers = {"Authorization": f"Bearer {alice.token}"}
    shared = client.get("/api/projects", headers={**headers, "Origin": FRONTEND})
    assert shared.headers["Access-Control-Allow-Origin"] == FRONTEND
    assert "Access-Control-Allow-Credentials" not in shared.headers
    assert "RateLimit" in shared.headers["Access-Control-Expose-Headers"]
    for origin in ("https://evil.example.com", "null", f"{FRONTEND}.evil.example", "http://app.example.com"):
        refused = client.get("/api/projects", headers={**headers, "Origin": origin})
        assert "Access-Control-Allow-Origin" not in refused.headers
        assert "Origin" in refused.headers["Vary"]
    assert "Access-Control-Allow-Origin" not in client.get("/login", headers={"Origin": FRONTEND}).headers


def test_an_error_is_shared_with_the_front_end_as_well(make_app: AppMaker) -> None:
    client = make_app(frontend_url=FRONTEND).test_client()
    refused = client.get("/api/projects", headers={"Origin": FRONTEND})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, FRONTEND)


def test_a_preflight_needs_no_token(make_app: AppMaker) -> None:
    client = make_app(frontend_url=FRONTEND, rate_limit_api="1/minute").test_client()
    for _ in range(3):
        asked = client.options("/api/deployments", headers=PREFLIGHT)
        assert asked.status_code == 204
        assert asked.headers["Access-Control-Allow-Origin"] == FRONTEND
        assert "Idempotency-Key" in asked.headers["Access-Control-Allow-Headers"]
    assert "DELETE" in asked.headers["Access-Control-Allow-Methods"]
    assert (
        client.options("/api/deployments", headers={**PREFLIGHT, "Origin": "https://evil.example"}).status_code != 204
    )


def test_without_a_front_end_nobody_elsewhere_reads_anything(client: FlaskClient) -> None:
    answered = client.get("/api/openapi.json", headers={"Origin": FRONTEND})
    assert not [name for name, _ in answered.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("address", ["*", "app.example.com", "ftp://app.example.com", "https://"])
def test_a_front_end_that_is_no_address_keeps_the_application_from_starting(address: str) -> None:
    with pytest.raises(ConfigurationError, match="must be an address"):
        load_settings(frontend_url=address)


def test_htmx_carries_the_csrf_token_in_a_header(browser: Browser, api: Api, project: dict[str, str]) -> None:
    path = f"/projects/{project['id']}/delete"
    assert re.search(r"hx-headers:inherited='\{\"X-CSRFToken\": ", browser.get("/projects").text)
    typed = {"confirm": project["name"]}
    assert browser.client.post(path, data=typed, headers={"HX-Request": "true"}).status_code == 400
    carried = {"HX-Request": "true", "X-CSRFToken": browser.csrf_token()}
    assert browser.client.post(path, data=typed, headers=carried).status_code in {200, 303}
    assert api.get(f"/api/projects/{project['id']}").status_code == 404


def test_a_session_in_a_cookie_needs_the_token_for_the_api_too(browser: Browser) -> None:
    refused = browser.client.put("/api/user/profile", json={"name": "Mallory"})
    assert (refused.status_code, refused.json["error"]["code"]) == (400, "BAD_REQUEST")
    carried = browser.client.put(
        "/api/user/profile", json={"name": "Al"}, headers={"X-CSRFToken": browser.csrf_token()}
    )
    assert carried.status_code == 200
