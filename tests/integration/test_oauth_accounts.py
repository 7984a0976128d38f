"""Which account somebody gets into who signs in by GitHub or Google, and accounts without a password."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from autostack.extensions import db
from tests.conftest import AppMaker
from tests.jobs import work_off
from tests.oauth import (
    HTML,
    accounts,
    registered_with,
    set_user,
    sign_in,
    signed_in_as,
    user_of,
    verify,
)
from tests.peers.github import GitHubPeer, email
from tests.peers.google import GooglePeer, google_account
from tests.people import PASSWORD, Api, Browser, Person, make_person

OCTO = "octo@example.com"
GINA = "gina@example.com"


@pytest.fixture
def owner(oauth_app: Flask) -> Person:
    """Somebody with a password whose address is GitHub's octo's."""
    return make_person(oauth_app, "Olga", OCTO)


def test_an_account_with_the_same_address_is_linked_when_both_have_it_confirmed(
    oauth_app: Flask, visitor: Browser, github: GitHubPeer, owner: Person
) -> None:
    verify(oauth_app, owner.email)
    sign_in(visitor, github, "github")
    assert signed_in_as(visitor) == owner.email
    assert accounts(oauth_app) == 1
    assert user_of(oauth_app, owner.email)["github_id"] == "583231"


@pytest.mark.parametrize(("ours", "theirs"), [(False, True), (True, False), (False, False)])
def test_else_only_after_its_password(
    oauth_app: Flask, visitor: Browser, github: GitHubPeer, owner: Person, ours: bool, theirs: bool
) -> None:
    set_user(oauth_app, owner.email, email_verified=ours)
    github.account["emails"] = [email(OCTO, verified=theirs)]
    answered = sign_in(visitor, github, "github", next="/projects/new")
    assert answered.location == "/login/link"
    assert signed_in_as(visitor) is None
    assert OCTO in visitor.get("/login/link").text

    for wrong in ("wrong", "", "\0", "x" * 10_000):
        assert visitor.post("/login/link", {"password": wrong}).status_code == 401
    assert user_of(oauth_app, owner.email)["github_id"] is None
    assert visitor.post("/login/link", {"password": PASSWORD}).location == "/projects/new"
    assert signed_in_as(visitor) == owner.email
    user = user_of(oauth_app, owner.email)
    assert (user["github_id"], user["email_verified"]) == ("583231", ours or theirs)


def test_the_page_for_the_password_is_only_for_who_was_sent_there(visitor: Browser, owner: Person) -> None:
    assert visitor.get("/login/link", headers=HTML).status_code == 400
    assert visitor.post("/login/link", {"password": PASSWORD}).status_code == 400


def test_an_address_that_nobody_confirmed_makes_no_account(
    oauth_app: Flask, visitor: Browser, github: GitHubPeer, google: GooglePeer
) -> None:
    github.account["emails"] = [email(OCTO, verified=False)]
    assert "has not confirmed" in sign_in(visitor, github, "github").text
    google.account = google_account("1", GINA, verified=False)
    assert sign_in(visitor, google, "google").status_code == 403
    assert accounts(oauth_app) == 0


def test_an_account_without_a_password_is_not_taken_over_by_an_unconfirmed_address(
    oauth_app: Flask, visitor: Browser, github: GitHubPeer, google: GooglePeer
) -> None:
    google.account = google_account("1", OCTO)
    sign_in(visitor, google, "google")
    github.account["emails"] = [email(OCTO, verified=False)]
    thief = Browser(oauth_app)
    answered = sign_in(thief, github, "github")
    assert (answered.status_code, signed_in_as(thief)) == (409, None)
    assert "Sign in as you did before" in answered.text


def test_both_providers_with_one_confirmed_address_are_one_account(
    oauth_app: Flask, github: GitHubPeer, google: GooglePeer
) -> None:
    google.account = google_account("1", OCTO.upper())
    sign_in(Browser(oauth_app), google, "google")
    sign_in(Browser(oauth_app), github, "github")
    assert accounts(oauth_app) == 1


def test_a_closed_account_stays_closed(oauth_app: Flask, visitor: Browser, github: GitHubPeer, owner: Person) -> None:
    set_user(oauth_app, owner.email, is_active=False, email_verified=True)
    assert sign_in(visitor, github, "github").status_code == 403
    set_user(oauth_app, owner.email, github_id="583231")
    assert sign_in(visitor, github, "github").status_code == 403
    assert signed_in_as(visitor) is None


# An account without a password


def age_sessions(app: Flask, seconds: int) -> None:
    with app.app_context():
        db.session.execute(db.text(f"UPDATE sessions SET created_at = created_at - interval '{seconds} s'"))
        db.session.commit()


def test_deleting_an_account_without_a_password_takes_a_fresh_sign_in(
    make_app: AppMaker, github: GitHubPeer, google: GooglePeer
) -> None:
    app = make_app(**registered_with(github, google), fresh_sign_in_s=100)
    browser = Browser(app)
    sign_in(browser, github, "github")
    age_sessions(app, 101)

    def delete() -> Any:
        headers = {"X-CSRFToken": browser.csrf_token()}
        return browser.client.delete("/api/user/account", json={}, headers=headers)

    stale = delete()
    assert (stale.status_code, stale.json["error"]["code"]) == (403, "FRESH_SIGN_IN_REQUIRED")
    assert accounts(app) == 1
    sign_in(browser, github, "github")
    age_sessions(app, 50)
    assert delete().status_code == 204
    work_off(app)
    assert accounts(app) == 0


def test_an_account_with_a_password_still_takes_it_to_be_deleted(api: Api, alice: Person) -> None:
    assert api.delete("/api/user/account", {}).status_code == 422
    assert api.delete("/api/user/account", {"password": alice.password}).status_code == 204


def test_a_password_is_changed_only_where_there_is_one(visitor: Browser, github: GitHubPeer) -> None:
    sign_in(visitor, github, "github")
    answered = visitor.client.put(
        "/api/user/password",
        json={"currentPassword": "", "newPassword": "an entirely new one"},
        headers={"X-CSRFToken": visitor.csrf_token()},
    )
    assert answered.status_code == 422
