"""Accounts on pages: sessions in cookies, forms with CSRF tokens."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.people import PASSWORD, Browser, Person


def csrf_missing(browser: Browser, path: str, **options: object) -> int:
    return browser.client.post(path, **options).status_code  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/login", "/signup"])
def test_a_form_has_its_token_and_needs_no_account(nobodys_browser: Browser, path: str) -> None:
    page = nobodys_browser.get(path)
    assert page.status_code == 200
    assert 'name="csrf_token"' in page.text
    assert 'name="password"' in page.text


def test_signing_up_on_the_page_signs_in(nobodys_browser: Browser) -> None:
    answered = nobodys_browser.post("/signup", {"name": "Bob", "email": "bob@example.com", "password": PASSWORD})
    assert (answered.status_code, answered.location) == (303, "/dashboard")
    assert nobodys_browser.get("/dashboard").status_code == 200


def test_what_was_typed_comes_back_but_never_the_password(nobodys_browser: Browser) -> None:
    answered = nobodys_browser.post("/signup", {"name": "Bob", "email": "bob at example", "password": "s3cret-pw"})
    assert answered.status_code == 422
    assert 'value="bob at example"' in answered.text
    assert "s3cret-pw" not in answered.text


def test_a_taken_address_is_said_on_the_page(nobodys_browser: Browser, alice: Person) -> None:
    answered = nobodys_browser.post("/signup", {"name": "A", "email": alice.email, "password": PASSWORD})
    assert answered.status_code == 409
    assert "exists already" in answered.text


def test_a_wrong_password_is_said_on_the_page(nobodys_browser: Browser, alice: Person) -> None:
    answered = nobodys_browser.post("/login", {"email": alice.email, "password": "wrong"})
    assert answered.status_code == 401
    assert "The e-mail address or the password is wrong." in answered.text
    assert nobodys_browser.get("/projects").status_code == 302


def test_logging_out_makes_a_copied_cookie_worthless(app: Flask, browser: Browser) -> None:
    copy = app.test_client()
    copy.set_cookie("session", browser.cookie() or "")
    assert copy.get("/projects").status_code == 200
    assert browser.post("/logout").location == "/login"
    assert browser.get("/projects").location == "/login?next=/projects"
    assert copy.get("/projects").status_code == 302


def test_nothing_from_before_the_login_stays_in_the_cookie(app: Flask, alice: Person) -> None:
    victim = Browser(app)
    with victim.client.session_transaction() as planted:
        planted.update(planted="by somebody else", csrf_token="known to somebody else")
    victim.sign_in(alice)
    with victim.client.session_transaction() as kept:
        assert "planted" not in kept
        assert kept.get("csrf_token") != "known to somebody else"


def test_a_cookie_is_for_us_only_and_ends_with_the_browser_unless_asked(app: Flask, alice: Person) -> None:
    fields = {"email": alice.email, "password": alice.password}
    brief = Browser(app).post("/login", fields).headers["Set-Cookie"]
    assert "HttpOnly" in brief
    assert "SameSite=Lax" in brief
    assert "Expires" not in brief
    assert "Expires" in Browser(app).post("/login", {**fields, "remember": "on"}).headers["Set-Cookie"]


def test_a_forged_cookie_is_nobody(app: Flask, alice: Person) -> None:
    forger = Browser(app)
    with forger.client.session_transaction() as forged:
        forged["_user_id"] = str(alice.id)
    assert forger.get("/projects").status_code == 302
    with forger.client.session_transaction() as forged:
        forged.update(_user_id=str(alice.id), session_secret="guessed")
    assert forger.get("/projects").status_code == 302


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/projects/new?a=1", "/projects/new?a=1"),
        ("//evil.example", "/dashboard"),
        ("/\\evil.example", "/dashboard"),
        ("https://evil.example/", "/dashboard"),
        ("javascript:alert(1)", "/dashboard"),
        ("/%09/evil", "/%09/evil"),
        ("/\t/evil.example", "/dashboard"),
        ("evil", "/dashboard"),
        ("", "/dashboard"),
    ],
)
def test_after_the_login_only_paths_of_ours_are_followed(
    nobodys_browser: Browser, alice: Person, target: str, leads_to: str
) -> None:
    fields = {"email": alice.email, "password": alice.password}
    answered = nobodys_browser.post("/login", fields, query_string={"next": target})
    assert answered.location == leads_to


def test_who_is_signed_in_sees_no_login_form(browser: Browser) -> None:
    assert browser.get("/login?next=/projects/new").location == "/projects/new"


@pytest.mark.parametrize("path", ["/login", "/signup", "/logout"])
def test_a_form_without_its_token_is_refused(browser: Browser, path: str) -> None:
    assert csrf_missing(browser, path) == 400
    assert browser.get("/projects").status_code == 200


def test_another_browsers_token_is_refused(browser: Browser, strangers_browser: Browser) -> None:
    assert csrf_missing(browser, "/logout", data={"csrf_token": strangers_browser.csrf_token()}) == 400


def test_the_token_may_come_in_a_header_as_htmx_sends_it(browser: Browser) -> None:
    answered = browser.client.post("/logout", headers={"X-CSRFToken": browser.csrf_token(), "HX-Request": "true"})
    assert answered.headers["HX-Redirect"] == "/login"


def test_a_part_of_a_page_uses_no_message_up(browser: Browser) -> None:
    browser.post("/settings", {"name": "Ada"})
    assert "Your profile is saved." not in browser.get("/projects", headers={"HX-Request": "true"}).text
    assert "Your profile is saved." in browser.get("/projects").text


def test_who_signs_in_again_after_a_fragment_was_asked_for_comes_back_to_its_page(nobodys_browser: Browser) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://localhost/deployments?status=failed"}
    answered = nobodys_browser.get("/search", headers=headers)
    assert answered.headers["HX-Redirect"] == "/login?next=/deployments?status%3Dfailed"


def test_a_cookie_alone_changes_nothing_over_the_api(browser: Browser) -> None:
    assert csrf_missing(browser, "/api/auth/logout") == 400
    headers = {"X-CSRFToken": browser.csrf_token()}
    assert browser.client.post("/api/auth/logout", headers=headers).status_code == 204


def test_a_bearer_token_needs_no_csrf_token_even_beside_a_cookie(browser: Browser, alice: Person) -> None:
    headers = {"Authorization": f"Bearer {alice.token}"}
    assert browser.client.post("/api/auth/logout", headers=headers).status_code == 204


def test_logging_out_is_for_who_is_signed_in_and_by_post(browser: Browser, nobodys_browser: Browser) -> None:
    assert browser.get("/logout").status_code == 405
    assert nobodys_browser.post("/logout").location.startswith("/login")
