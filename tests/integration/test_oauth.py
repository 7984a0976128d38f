"""Signing in by GitHub and Google, which are played by real HTTP servers: the way there and back."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from autostack.accounts.models import OAuthRequest
from autostack.extensions import db, redis
from tests.conftest import AppMaker
from tests.oauth import (
    HTML,
    accounts,
    begin,
    come_back,
    parameters,
    registered_with,
    sign_in,
    signed_in_as,
    user_of,
)
from tests.peers.github import GitHubPeer, email, github_account
from tests.peers.google import GooglePeer
from tests.people import Browser
from tests.s3 import free_port

OCTO = "octo@example.com"
GINA = "gina@example.com"


def test_github_is_asked_for_the_address_only_with_pkce_and_a_state(visitor: Browser, github: GitHubPeer) -> None:
    asked = parameters(begin(visitor, "github"))
    assert asked["scope"] == "user:email"
    assert asked["redirect_uri"] == "http://localhost:8000/api/auth/github/callback"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) >= 43
    assert parameters(begin(visitor, "github"))["state"] != asked["state"]


def test_google_is_asked_for_an_id_token_with_a_nonce(visitor: Browser) -> None:
    asked = parameters(begin(visitor, "google"))
    assert asked["scope"] == "openid profile email"
    assert asked["redirect_uri"] == "http://localhost:8000/api/auth/google/callback"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["nonce"]) >= 43


@pytest.mark.parametrize(
    ("provider", "address", "column"), [("github", OCTO, "github_id"), ("google", GINA, "google_id")]
)
def test_who_comes_for_the_first_time_gets_an_account_and_the_next_time_the_same(
    oauth_app: Flask, github: GitHubPeer, google: GooglePeer, provider: str, address: str, column: str
) -> None:
    peer = {"github": github, "google": google}[provider]
    first, second = Browser(oauth_app), Browser(oauth_app)
    assert sign_in(first, peer, provider).location == "/dashboard"
    assert signed_in_as(first) == address
    user = user_of(oauth_app, address)
    assert user[column] == str(peer.account.get("id") or peer.account["sub"])
    assert (user["email_verified"], user["password_hash"]) == (True, None)
    assert user["avatar_url"].startswith("https://")
    assert "Welcome" in first.get("/dashboard").text

    sign_in(second, peer, provider)
    assert signed_in_as(second) == address
    assert accounts(oauth_app) == 1


def test_identity_is_the_subject_whatever_becomes_of_the_address(oauth_app: Flask, github: GitHubPeer) -> None:
    sign_in(Browser(oauth_app), github, "github")
    github.account["emails"] = [email("moved@example.com")]
    browser = Browser(oauth_app)
    sign_in(browser, github, "github")
    assert signed_in_as(browser) == OCTO

    # Somebody else has the address now: they get no account of the former owner.
    github.account = github_account(999, "heir", email(OCTO))
    heir = Browser(oauth_app)
    assert "Another GitHub account" in sign_in(heir, github, "github").text
    assert signed_in_as(heir) is None


def test_the_session_is_a_new_one_after_signing_in(oauth_app: Flask, visitor: Browser, github: GitHubPeer) -> None:
    with visitor.client.session_transaction() as planted:
        planted.update(planted="by somebody else", csrf_token="known to somebody else")
    location = github.decide(begin(visitor, "github"))
    before = visitor.cookie()
    come_back(visitor, location)
    assert visitor.cookie() != before
    with visitor.client.session_transaction() as kept:
        assert "planted" not in kept
        assert kept.get("csrf_token") != "known to somebody else"


def test_signing_in_anew_ends_the_session_before(oauth_app: Flask, visitor: Browser, github: GitHubPeer) -> None:
    sign_in(visitor, github, "github")
    copy = Browser(oauth_app)
    copy.client.set_cookie("session", visitor.cookie() or "")
    assert signed_in_as(copy) == OCTO
    sign_in(visitor, github, "github")
    assert signed_in_as(visitor) == OCTO
    assert signed_in_as(copy) is None


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/projects/new?a=1", "/projects/new?a=1"),
        ("//evil.example", "/dashboard"),
        ("https://evil.example", "/dashboard"),
    ],
)
def test_afterwards_only_paths_of_ours_are_followed(
    visitor: Browser, github: GitHubPeer, target: str, leads_to: str
) -> None:
    assert sign_in(visitor, github, "github", next=target).location == leads_to


def test_the_login_page_offers_both_and_keeps_where_one_was_going(visitor: Browser) -> None:
    page = visitor.get("/login?next=/projects/new").text
    assert "/api/auth/github?next=/projects/new" in page
    assert "/api/auth/google?next=/projects/new" in page
    assert "Sign up with GitHub" in visitor.get("/signup").text


@pytest.mark.parametrize("path", ["/api/auth/github", "/api/auth/google", "/api/auth/github/callback?code=a&state=b"])
def test_without_a_client_id_there_is_no_button_and_no_route(nobodys_browser: Browser, path: str) -> None:
    assert "GitHub" not in nobodys_browser.get("/login").text
    answered = nobodys_browser.get(path, headers=HTML)
    assert answered.status_code == 404
    assert "is not set up" in answered.text
    as_json = nobodys_browser.get(path, headers={"Accept": "application/json"})
    assert as_json.json["error"]["code"] == "PROVIDER_NOT_CONFIGURED"


def test_another_provider_is_not_found(visitor: Browser) -> None:
    assert visitor.get("/api/auth/gitlab").status_code == 404


def test_callbacks_can_be_elsewhere_than_at_the_applications_address(
    make_app: AppMaker, github: GitHubPeer, google: GooglePeer
) -> None:
    callbacks = {
        "github_callback_url": "https://a.example/api/auth/github/callback",
        "google_callback_url": "https://a.example/api/auth/google/callback",
    }
    app = make_app(**registered_with(github, google), **callbacks)
    for provider in ("github", "google"):
        browser = Browser(app)
        asked = parameters(begin(browser, provider))
        assert asked["redirect_uri"] == f"https://a.example/api/auth/{provider}/callback"
        assert sign_in(browser, {"github": github, "google": google}[provider], provider).status_code == 302


def test_an_unused_state_is_forgotten_in_time(oauth_app: Flask, visitor: Browser, github: GitHubPeer) -> None:
    location = github.decide(begin(visitor, "github"))
    with oauth_app.app_context():
        db.session.execute(update(OAuthRequest).values(expires_at=func.now()))
        db.session.commit()
    assert come_back(visitor, location).status_code == 400
    begin(visitor, "github")
    with oauth_app.app_context():
        assert db.session.scalar(select(func.count()).select_from(OAuthRequest)) == 1


def test_a_state_lasts_as_long_as_the_setting_says(make_app: AppMaker, github: GitHubPeer, google: GooglePeer) -> None:
    app = make_app(**registered_with(github, google), oauth_state_expires_in_s=1234)
    begin(Browser(app), "github")
    with app.app_context():
        [request] = db.session.scalars(select(OAuthRequest)).all()
        assert round((request.expires_at - request.created_at).total_seconds()) == 1234


def test_an_emptied_redis_on_the_way_changes_nothing(oauth_app: Flask, visitor: Browser, github: GitHubPeer) -> None:
    location = github.decide(begin(visitor, "github"))
    with oauth_app.app_context():
        redis().flushall()
    come_back(visitor, location)
    assert signed_in_as(visitor) == OCTO


def test_one_gets_in_while_redis_is_away(make_app: AppMaker, github: GitHubPeer, google: GooglePeer) -> None:
    app = make_app(**registered_with(github, google), redis_url=f"redis://127.0.0.1:{free_port()}/0")
    browser = Browser(app)
    sign_in(browser, github, "github")
    assert signed_in_as(browser) == OCTO


def test_answers_stay_out_of_caches_and_referrers(visitor: Browser, github: GitHubPeer) -> None:
    headers = sign_in(visitor, github, "github").headers
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "same-origin")
