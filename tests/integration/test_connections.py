"""The settings page of the ways into an account, and GitHub connected for deployments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select, text

from autostack.accounts import one_time, service
from autostack.accounts.models import GitHubConnection
from autostack.accounts.one_time import Purpose
from autostack.encryption import Cipher
from autostack.extensions import db, settings
from tests.conftest import AppMaker
from tests.jobs import work_off
from tests.oauth import begin, come_back, connect_github, parameters, registered_with, sent_to, sign_in, user_of
from tests.pages import parsed, text_of
from tests.peers.github import API, GitHubPeer, github_account
from tests.peers.google import GooglePeer
from tests.people import PASSWORD, Api, Browser, Person, make_person

WAYS = "/settings/account"
GITHUB = "/settings/github"
PATHS = {"connect": f"{GITHUB}/connect", "link": f"{WAYS}/github/link"}
DISCONNECTED = {"connected": False, "username": None, "connectedAt": None}


@pytest.fixture
def owner(oauth_app: Flask) -> Person:
    return make_person(oauth_app, "Olga", "olga@example.com")


@pytest.fixture
def settings_of(oauth_app: Flask, owner: Person) -> Browser:
    """The owner's browser, signed in."""
    return Browser(oauth_app).sign_in(owner)


@pytest.fixture
def owners_api(oauth_app: Flask, owner: Person) -> Api:
    return Api(oauth_app, owner.token)


def test_a_way_is_added_after_the_password_and_signs_in_from_then_on(
    oauth_app: Flask, settings_of: Browser, owner: Person, github: GitHubPeer
) -> None:
    url = sent_to(settings_of.post(f"{WAYS}/github/link", {"password": PASSWORD}))
    assert parameters(url)["scope"] == "user:email"
    assert come_back(settings_of, github.decide(url)).location == WAYS
    assert "You can sign in with GitHub now." in settings_of.get(WAYS).text
    again = Browser(oauth_app)
    # Its address at GitHub is another one: the identity leads to the account, not the address.
    sign_in(again, github, "github")
    assert again.get("/api/auth/session").json["user"]["email"] == owner.email


@pytest.mark.parametrize("fields", [{}, {"password": "wrong"}, {"password": "\0"}, {"password": "x" * 10_000}])
def test_without_the_password_no_way_is_added(settings_of: Browser, github: GitHubPeer, fields: dict[str, str]) -> None:
    answered = settings_of.post(f"{WAYS}/github/link", fields)
    assert answered.status_code == 422
    assert "The password is wrong." in answered.text
    assert github.calls == []


def test_an_account_of_somebody_elses_cannot_be_added(
    oauth_app: Flask, settings_of: Browser, owner: Person, github: GitHubPeer
) -> None:
    sign_in(Browser(oauth_app), github, "github")
    url = sent_to(settings_of.post(f"{WAYS}/github/link", {"password": PASSWORD}))
    answered = come_back(settings_of, github.decide(url))
    assert answered.status_code == 409
    assert "already signs in to another account" in answered.text
    assert user_of(oauth_app, owner.email)["github_id"] is None


def test_a_second_account_of_one_provider_is_refused(
    oauth_app: Flask, settings_of: Browser, owner: Person, github: GitHubPeer
) -> None:
    for id in (1, 2):
        github.account = github_account(id, f"octo{id}")
        url = sent_to(settings_of.post(f"{WAYS}/github/link", {"password": PASSWORD}))
        answered = come_back(settings_of, github.decide(url))
    assert answered.status_code == 409
    assert user_of(oauth_app, owner.email)["github_id"] == "1"


def test_a_way_can_be_removed_but_not_the_last_one(oauth_app: Flask, github: GitHubPeer, google: GooglePeer) -> None:
    browser = Browser(oauth_app)
    sign_in(browser, github, "github")
    refused = browser.post(f"{WAYS}/github/unlink")
    assert refused.status_code == 409
    assert "only way to sign in" in refused.text

    come_back(browser, google.decide(sent_to(browser.post(f"{WAYS}/google/link"))))
    assert browser.post(f"{WAYS}/github/unlink").status_code == 303
    assert user_of(oauth_app, "octo@example.com")["github_id"] is None
    assert browser.post(f"{WAYS}/google/unlink").status_code == 409


def test_of_the_last_two_ways_removed_at_once_one_stays(
    oauth_app: Flask, github: GitHubPeer, google: GooglePeer
) -> None:
    browser = Browser(oauth_app)
    sign_in(browser, github, "github")
    come_back(browser, google.decide(sent_to(browser.post(f"{WAYS}/google/link"))))
    tabs = {provider: Browser(oauth_app) for provider in ("github", "google")}
    for tab in tabs.values():
        tab.client.set_cookie("session", browser.cookie() or "")
    with ThreadPoolExecutor() as pool:
        answers = pool.map(lambda way: way[1].post(f"{WAYS}/{way[0]}/unlink").status_code, tabs.items())
    assert sorted(answers) == [303, 409]


def test_a_way_that_the_installation_does_not_offer_any_more_is_none(
    oauth_app: Flask, make_app: AppMaker, github: GitHubPeer, google: GooglePeer
) -> None:
    browser = Browser(oauth_app)
    sign_in(browser, github, "github")
    come_back(browser, google.decide(sent_to(browser.post(f"{WAYS}/google/link"))))
    without_google = Browser(make_app(**{**registered_with(github, google), "google_client_id": None}))
    sign_in(without_google, github, "github")
    assert without_google.post(f"{WAYS}/github/unlink").status_code == 409


def test_with_a_password_every_other_way_can_go(
    oauth_app: Flask, settings_of: Browser, owner: Person, github: GitHubPeer
) -> None:
    come_back(settings_of, github.decide(sent_to(settings_of.post(f"{WAYS}/github/link", {"password": PASSWORD}))))
    assert settings_of.post(f"{WAYS}/github/unlink").status_code == 303
    assert user_of(oauth_app, owner.email)["github_id"] is None


def test_without_a_password_a_way_is_added_after_a_fresh_sign_in_only(
    oauth_app: Flask, github: GitHubPeer, google: GooglePeer
) -> None:
    browser = Browser(oauth_app)
    sign_in(browser, github, "github")
    with oauth_app.app_context():
        db.session.execute(text("UPDATE sessions SET created_at = created_at - interval '1 hour'"))
        db.session.commit()
    refused = browser.post(f"{WAYS}/google/link")
    assert refused.status_code == 403
    assert f"/api/auth/github?next={WAYS}" in refused.text
    assert sign_in(browser, github, "github", next=WAYS).location == WAYS
    come_back(browser, google.decide(sent_to(browser.post(f"{WAYS}/google/link"))))
    assert user_of(oauth_app, "octo@example.com")["google_id"] == google.account["sub"]


def test_a_password_is_set_by_a_link_in_a_mail(oauth_app: Flask, github: GitHubPeer) -> None:
    browser = Browser(oauth_app)
    sign_in(browser, github, "github")
    assert "Mail me a link to set one" in browser.get(WAYS).text
    assert browser.post(f"{WAYS}/first-password").status_code == 303
    with oauth_app.app_context():
        mails = db.session.execute(text("SELECT recipient, purpose FROM pending_mails")).all()
    assert [tuple(mail) for mail in mails] == [("octo@example.com", "reset_password")]


def test_the_page_names_only_whom_the_installation_knows(browser: Browser) -> None:
    assert not parsed(browser.get(WAYS)).select("#ways")
    page = parsed(browser.get(GITHUB))
    assert not page.select("form[action*=connect]")
    assert "not registered with GitHub" in text_of(page, ".connection")


@pytest.mark.parametrize(
    "path",
    ["account/github/link", "account/github/unlink", "github/connect", "github/disconnect", "account/first-password"],
)
def test_nobody_changes_anything(nobodys_browser: Browser, browser: Browser, path: str) -> None:
    assert nobodys_browser.post(f"/settings/{path}").location.startswith("/login")
    assert browser.client.post(f"/settings/{path}").status_code == 400
    assert browser.get(f"/settings/{path}").status_code == 405


# GitHub for deployments


def test_connecting_asks_for_the_repositories_and_keeps_the_token_encrypted(
    oauth_app: Flask, settings_of: Browser, owners_api: Api, github: GitHubPeer
) -> None:
    assert owners_api.get("/api/github/connection").json == DISCONNECTED
    url = sent_to(settings_of.post(f"{GITHUB}/connect"))
    assert parameters(url)["scope"] == "repo"
    assert parameters(url)["redirect_uri"] == "http://localhost:8000/api/auth/github/callback"
    assert come_back(settings_of, github.decide(url)).location == GITHUB

    for path in ("connection", "connection-status"):
        found = owners_api.get(f"/api/github/{path}").json
        assert (found["connected"], found["username"], found["connectedAt"][-1]) == (True, "octo", "Z")
    assert text_of(parsed(settings_of.get(GITHUB)), "#github") == "Connected as octo"
    [token] = github.tokens
    with oauth_app.app_context():
        stored = db.session.scalars(select(GitHubConnection.github_access_token)).one()
        assert token not in stored
        assert Cipher.of(settings()).decrypt(stored) == token


def test_connecting_does_not_let_that_github_sign_in(
    oauth_app: Flask, settings_of: Browser, owner: Person, github: GitHubPeer
) -> None:
    connect_github(settings_of, github)
    assert user_of(oauth_app, owner.email)["github_id"] is None


def test_signing_in_keeps_no_token(oauth_app: Flask, github: GitHubPeer) -> None:
    sign_in(Browser(oauth_app), github, "github")
    with oauth_app.app_context():
        assert db.session.scalars(select(GitHubConnection)).all() == []


def test_a_token_that_expires_is_kept_with_what_renews_it(
    oauth_app: Flask, settings_of: Browser, github: GitHubPeer
) -> None:
    url = sent_to(settings_of.post(f"{GITHUB}/connect"))
    grant = {"access_token": "ghu_a", "refresh_token": "ghr_b", "expires_in": 28_800, "token_type": "bearer"}
    github.bodies |= {github.token_path: {**grant, "scope": "repo"}, f"{API}/user": github.account}
    come_back(settings_of, github.decide(url))
    with oauth_app.app_context():
        kept = db.session.scalars(select(GitHubConnection)).one()
        cipher = Cipher.of(settings())
        assert cipher.decrypt(kept.github_refresh_token or "") == "ghr_b"
        assert kept.token_expires_at is not None
        assert 28_000 < (kept.token_expires_at - kept.connected_at).total_seconds() < 29_000


@pytest.mark.parametrize(
    ("asked", "leads"),
    [
        ("/deploy?draft=0", "/deploy?draft=0"),
        ("/dashboard", "/dashboard"),
        ("https://evil.example/", GITHUB),
        ("//evil.example/", GITHUB),
        ("/\\evil.example/", GITHUB),
        ("/" + "x" * 3000, GITHUB),
    ],
)
def test_connecting_leads_back_to_where_it_was_asked_for_on_this_site_only(
    settings_of: Browser, github: GitHubPeer, asked: str, leads: str
) -> None:
    url = sent_to(settings_of.post(f"{GITHUB}/connect", query_string={"next": asked}))
    assert come_back(settings_of, github.decide(url)).location == leads


def test_who_says_no_finds_the_way_back(settings_of: Browser, github: GitHubPeer) -> None:
    url = sent_to(settings_of.post(f"{GITHUB}/connect", query_string={"next": "/deploy"}))
    refused = come_back(settings_of, github.decide(url, "no"))
    assert refused.status_code == 403
    assert 'href="/deploy"' in refused.text


def test_disconnecting_forgets_the_connection(settings_of: Browser, owners_api: Api, github: GitHubPeer) -> None:
    connect_github(settings_of, github)
    assert owners_api.delete("/api/github/disconnect").status_code == 204
    assert owners_api.get("/api/github/connection").json == DISCONNECTED
    assert owners_api.delete("/api/github/disconnect").status_code == 204
    connect_github(settings_of, github)
    assert settings_of.post(f"{GITHUB}/disconnect").status_code == 303
    assert owners_api.get("/api/github/connection-status").json == DISCONNECTED


def test_connecting_again_takes_the_place_of_the_connection_before(
    settings_of: Browser, owners_api: Api, github: GitHubPeer
) -> None:
    connect_github(settings_of, github)
    github.account = github_account(2, "hexa")
    connect_github(settings_of, github)
    assert owners_api.get("/api/github/connection").json["username"] == "hexa"
    work_off(settings_of.app)
    assert [asked.account["login"] for asked in github.tokens.values()] == ["hexa"]


def test_a_grant_without_the_repositories_is_refused(settings_of: Browser, owners_api: Api, github: GitHubPeer) -> None:
    github.account["granted"] = "user:email"
    answered = connect_github(settings_of, github)
    assert answered.status_code == 403
    assert "access to your repositories" in answered.text
    assert owners_api.get("/api/github/connection").json == DISCONNECTED


def reset_by_mail(app: Flask, person: Person) -> None:
    with app.app_context():
        secret = one_time.issue(person.id, Purpose.RESET_PASSWORD, datetime.now(UTC) + timedelta(minutes=1))
        service.reset_password(secret, "what the owner chose")


def way_to(purpose: str, browser: Browser, github: GitHubPeer) -> str:
    """Begin, agree at GitHub, and return what it sends the browser back to."""
    return github.decide(sent_to(browser.post(PATHS[purpose], {"password": PASSWORD})))


@pytest.mark.parametrize("purpose", ["connect", "link"])
def test_a_reset_on_the_way_there_ends_what_was_begun(
    oauth_app: Flask, settings_of: Browser, owner: Person, github: GitHubPeer, purpose: str
) -> None:
    location = way_to(purpose, settings_of, github)
    reset_by_mail(oauth_app, owner)
    assert come_back(settings_of, location).status_code == 400
    settings_of.sign_in(replace(owner, password="what the owner chose"))
    assert come_back(settings_of, location).status_code == 400
    assert settings_of.get("/api/github/connection").json == DISCONNECTED
    assert user_of(oauth_app, owner.email)["github_id"] is None


@pytest.mark.parametrize("purpose", ["connect", "link"])
@pytest.mark.parametrize("path", [GitHubPeer.token_path, f"{API}/user"])
def test_nor_does_it_outlive_a_reset_while_github_answers(
    oauth_app: Flask, settings_of: Browser, owner: Person, github: GitHubPeer, purpose: str, path: str
) -> None:
    location = way_to(purpose, settings_of, github)
    github.meanwhile[path] = lambda: reset_by_mail(oauth_app, owner)
    answered = come_back(settings_of, location)
    assert (answered.status_code, "The session has ended" in answered.text) == (401, True)
    with oauth_app.app_context():
        assert db.session.scalars(select(GitHubConnection)).all() == []
    assert user_of(oauth_app, owner.email)["github_id"] is None


def test_the_api_answers_where_to_connect_for_the_browser_that_asked(settings_of: Browser, github: GitHubPeer) -> None:
    answered = settings_of.client.post("/api/github/connect", headers={"X-CSRFToken": settings_of.csrf_token()})
    location = github.decide(answered.json["authorizationUrl"])
    assert come_back(settings_of, location).location == GITHUB
    assert settings_of.get("/api/github/connection").json["connected"] is True


def test_the_api_of_an_installation_without_github_says_so(api: Api) -> None:
    answered = api.post("/api/github/connect")
    assert (answered.status_code, answered.json["error"]["code"]) == (404, "PROVIDER_NOT_CONFIGURED")


def test_nobody_learns_of_anybodys_connection(
    oauth_app: Flask, settings_of: Browser, github: GitHubPeer, nobodys_api: Api
) -> None:
    connect_github(settings_of, github)
    stranger = make_person(oauth_app, "Stranger", "stranger@example.com")
    assert Api(oauth_app, stranger.token).get("/api/github/connection").json == DISCONNECTED
    for method, path in (("get", "connection"), ("get", "connection-status"), ("post", "connect")):
        assert getattr(nobodys_api, method)(f"/api/github/{path}").status_code == 401
    assert nobodys_api.delete("/api/github/disconnect").status_code == 401


def test_a_sign_in_begun_as_nobody_does_not_connect(settings_of: Browser, github: GitHubPeer) -> None:
    # The purpose is in the state, not in what comes back: more scopes make no connection.
    url = begin(settings_of, "github").replace("user%3Aemail", "repo")
    come_back(settings_of, github.decide(url))
    assert settings_of.get("/api/github/connection").json == DISCONNECTED
