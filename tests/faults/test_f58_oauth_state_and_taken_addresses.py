"""58. OAuth state missing, swapped or replayed; an account pre-registered with someone's e-mail: refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from autostack.accounts import one_time
from autostack.accounts.one_time import Purpose
from tests.oauth import begin, come_back, parameters, sent_to, sign_in, user_of, verify
from tests.peers.github import GitHubPeer, email
from tests.peers.google import GooglePeer, google_account
from tests.people import PASSWORD, Browser, Person, make_person

OCTO = "octo@example.com"


@pytest.fixture
def victim(oauth_app: Flask) -> Browser:
    return Browser(oauth_app)


@pytest.fixture
def attacker(oauth_app: Flask) -> Browser:
    return Browser(oauth_app)


def is_signed_in(browser: Browser) -> bool:
    return browser.get("/api/auth/session").status_code == 200


def refused(browser: Browser, location: str) -> bool:
    answered = come_back(browser, location)
    return answered.status_code == 400 and "Begin again" in answered.text and not is_signed_in(browser)


@pytest.mark.parametrize(
    "change",
    [
        lambda location, state: location.replace(f"state={state}", ""),
        lambda location, state: location.replace(state, ""),
        lambda location, state: location.replace(state, state[:-1] + ("A" if state[-1] != "A" else "B")),
        lambda location, state: location.replace(state, "a" * 10_000),
        lambda location, state: location.replace(state, "%ff%fe"),
    ],
    ids=["missing", "empty", "altered", "long", "no text"],
)
def test_f58_a_state_that_is_not_ours_is_refused(
    victim: Browser, github: GitHubPeer, change: Callable[[str, str], str]
) -> None:
    location = github.decide(begin(victim, "github"))
    assert refused(victim, change(location, parameters(location)["state"]))
    assert "POST /login/oauth/access_token" not in github.calls


def test_f58_a_state_of_another_browser_is_refused(victim: Browser, attacker: Browser, github: GitHubPeer) -> None:
    # Login CSRF: the attacker has the victim's browser come back with the attacker's code.
    location = github.decide(begin(attacker, "github"))
    assert refused(victim, location)
    begin(victim, "github")
    assert refused(victim, location)


def test_f58_a_code_of_another_browser_is_of_no_use_with_ones_own_state(
    victim: Browser, attacker: Browser, github: GitHubPeer
) -> None:
    # The attacker got hold of the victim's code. PKCE: it is only good for who asked.
    stolen = parameters(github.decide(begin(victim, "github")))["code"]
    own = github.decide(begin(attacker, "github"))
    answered = come_back(attacker, own.replace(parameters(own)["code"], stolen))
    assert answered.status_code == 502
    assert not is_signed_in(attacker)


def test_f58_a_state_is_good_once(victim: Browser, oauth_app: Flask, github: GitHubPeer) -> None:
    location = github.decide(begin(victim, "github"))
    copy = Browser(oauth_app)
    copy.client.set_cookie("session", victim.cookie() or "")
    assert come_back(victim, location).status_code == 302
    assert refused(copy, location)


def test_f58_of_two_at_once_one_gets_in(victim: Browser, oauth_app: Flask, github: GitHubPeer) -> None:
    location = github.decide(begin(victim, "github"))
    twins = [Browser(oauth_app) for _ in range(4)]
    statuses: list[int] = []
    for twin in twins:
        twin.client.set_cookie("session", victim.cookie() or "")
    threads = [
        threading.Thread(target=lambda t=twin: statuses.append(come_back(t, location).status_code)) for twin in twins
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [302, 400, 400, 400]


def test_f58_a_refusal_uses_the_state_up_as_well(victim: Browser, github: GitHubPeer) -> None:
    url = begin(victim, "github")
    agreed, denied = github.decide(url), github.decide(url, "no")
    assert come_back(victim, denied).status_code == 403
    assert refused(victim, agreed)


def test_f58_a_state_of_one_provider_is_none_of_the_other(victim: Browser, github: GitHubPeer) -> None:
    location = github.decide(begin(victim, "github"))
    assert refused(victim, location.replace("/github/", "/google/"))


def test_f58_one_users_question_is_not_answered_for_another(
    oauth_app: Flask, victim: Browser, github: GitHubPeer
) -> None:
    # Somebody begins to add their GitHub, then somebody else logs in there: who asked is not who comes back.
    first = make_person(oauth_app, "First", "first@example.com")
    second = make_person(oauth_app, "Second", "second@example.com")
    victim.sign_in(first)
    location = github.decide(sent_to(victim.post("/settings/account/github/link", {"password": PASSWORD})))
    victim.post("/logout")
    assert come_back(victim, location).status_code == 400
    victim.sign_in(second)
    assert come_back(victim, location).status_code == 400
    for person in (first, second):
        assert user_of(oauth_app, person.email)["github_id"] is None


def squat(app: Flask, browser: Browser) -> Person:
    """Make an account with an address that is not one's own."""
    squatter = make_person(app, "Squatter", OCTO)
    browser.sign_in(squatter)
    return squatter


def test_f58_an_account_made_beforehand_with_somebodys_address_does_not_get_their_github(
    oauth_app: Flask, victim: Browser, attacker: Browser, github: GitHubPeer
) -> None:
    squat(oauth_app, attacker)
    assert sign_in(victim, github, "github").location == "/login/link"
    assert not is_signed_in(victim)
    assert user_of(oauth_app, OCTO)["github_id"] is None


def test_f58_who_owns_the_mailbox_gets_the_account_and_the_squatter_loses_every_way_in(
    oauth_app: Flask, victim: Browser, attacker: Browser, github: GitHubPeer, google: GooglePeer
) -> None:
    squat(oauth_app, attacker)
    google.account = google_account("of the squatter", "squatter@example.com")
    url = sent_to(attacker.post("/settings/account/google/link", {"password": PASSWORD}))
    come_back(attacker, google.decide(url))
    assert user_of(oauth_app, OCTO)["google_id"] == "of the squatter"

    reset_link_of_the_owner(oauth_app, victim)
    assert not is_signed_in(attacker)
    assert user_of(oauth_app, OCTO)["google_id"] is None
    back = Browser(oauth_app)
    sign_in(back, google, "google")
    assert user_of(oauth_app, OCTO)["google_id"] is None
    sign_in(victim, github, "github")
    assert is_signed_in(victim)
    assert user_of(oauth_app, OCTO)["github_id"] == "583231"


def test_f58_a_forgotten_password_costs_its_owner_no_linked_account(
    oauth_app: Flask, victim: Browser, github: GitHubPeer
) -> None:
    sign_in(victim, github, "github")
    reset_link_of_the_owner(oauth_app, Browser(oauth_app))
    assert user_of(oauth_app, OCTO)["github_id"] == "583231"


def test_f58_an_account_made_beforehand_at_the_provider_does_not_get_into_ours(
    oauth_app: Flask, attacker: Browser, github: GitHubPeer
) -> None:
    owner = make_person(oauth_app, "Owner", OCTO)
    verify(oauth_app, owner.email)
    github.account["emails"] = [email(OCTO, verified=False)]
    assert sign_in(attacker, github, "github").location == "/login/link"
    assert attacker.post("/login/link", {"password": "a guess"}).status_code == 401
    assert not is_signed_in(attacker)


def reset_link_of_the_owner(app: Flask, browser: Browser) -> None:
    """Set a new password by the link that the owner of the mailbox gets."""
    with app.app_context():
        user_id = user_of(app, OCTO)["id"]
        secret = one_time.issue(user_id, Purpose.RESET_PASSWORD, datetime.now(UTC) + timedelta(minutes=1))
    answered = browser.post("/reset-password", {"token": secret, "password": "an entirely new one"})
    assert answered.status_code == 303, answered.text
