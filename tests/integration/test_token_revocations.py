"""Tokens that GitHub is to take back: asked for by a job, again and again for a while, and never by a request."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from sqlalchemy import select, text

from autostack.accounts.models import TokenRevocation
from autostack.builds import sweep
from autostack.encryption import Cipher
from autostack.extensions import db, redis
from autostack.github import jobs, revocations
from autostack.settings import Settings
from tests.conftest import AppMaker
from tests.jobs import work_off
from tests.log_lines import recorded
from tests.oauth import come_back, registered_with, sent_to
from tests.peers.github import API, GitHubPeer
from tests.peers.google import GooglePeer
from tests.peers.oauth_server import CLIENT_ID, Fault
from tests.people import PASSWORD, Api, Browser, Person, make_person

PATH = f"{API}/applications/{CLIENT_ID}/token"


@pytest.fixture
def owner(oauth_app: Flask, github: GitHubPeer) -> Person:
    """Somebody who has connected GitHub."""
    person = make_person(oauth_app, "Olga", "olga@example.com")
    browser = Browser(oauth_app).sign_in(person)
    come_back(browser, github.decide(sent_to(browser.post("/settings/github/connect"))))
    assert len(github.tokens) == 1
    return person


@pytest.fixture
def api(oauth_app: Flask, owner: Person) -> Api:
    return Api(oauth_app, owner.token)


def asked(github: GitHubPeer) -> int:
    """Return how often GitHub was asked to take a token back."""
    return github.calls.count(f"DELETE {PATH}")


def planned(app: Flask) -> int:
    with app.app_context():
        return len(db.session.scalars(select(TokenRevocation.id)).all())


def let_time_pass(app: Flask) -> None:
    """Have every wait be over."""
    with app.app_context():
        db.session.execute(text("UPDATE token_revocations SET due_at = now()"))
        db.session.commit()


@pytest.mark.parametrize("path", ["user/account", "github/disconnect"])
def test_a_token_is_taken_back_by_a_job_and_not_by_the_request(
    oauth_app: Flask, api: Api, github: GitHubPeer, path: str
) -> None:
    assert api.delete(f"/api/{path}", {"password": PASSWORD}).status_code == 204
    assert asked(github) == 0
    assert "revoke_tokens" in work_off(oauth_app)
    assert github.tokens == {}
    assert planned(oauth_app) == 0


def test_a_token_that_waits_is_stored_encrypted(oauth_app: Flask, api: Api, github: GitHubPeer) -> None:
    api.delete("/api/github/disconnect")
    [token] = github.tokens
    with oauth_app.app_context():
        stored = db.session.scalars(select(TokenRevocation.access_token)).one()
        assert token not in stored
        assert Cipher.of(oauth_app.config["AUTOSTACK"]).decrypt(stored) == token


def test_while_github_is_away_the_account_goes_and_the_token_is_tried_again(
    oauth_app: Flask, api: Api, github: GitHubPeer, nobodys_api: Api, owner: Person
) -> None:
    github.faults[PATH] = Fault.ERROR
    api.delete("/api/user/account", {"password": PASSWORD})
    work_off(oauth_app)
    again = {"name": "Olga", "email": owner.email, "password": PASSWORD}
    assert nobodys_api.post("/api/auth/signup", again).status_code == 201
    assert (planned(oauth_app), asked(github)) == (1, 1)

    with oauth_app.app_context():
        redis().flushall()
        sweep.revoke_tokens()
    work_off(oauth_app)
    assert asked(github) == 1, "it was asked again at once"
    github.faults.clear()
    let_time_pass(oauth_app)
    with oauth_app.app_context():
        sweep.revoke_tokens()
    work_off(oauth_app)
    assert (planned(oauth_app), github.tokens) == (0, {})


def test_a_github_that_is_away_for_ever_is_asked_so_often_and_no_more(
    oauth_app: Flask, make_settings: Callable[..., Settings], api: Api, github: GitHubPeer
) -> None:
    github.faults[PATH] = Fault.RESET
    api.delete("/api/github/disconnect")
    with recorded(make_settings(log_format="json")) as lines, oauth_app.app_context():
        for _ in range(revocations.ATTEMPTS + 1):
            let_time_pass(oauth_app)
            jobs.revoke_tokens()
        said = [line["level"] for line in lines.of("GitHub keeps a token that is used no more")]
    assert asked(github) == revocations.ATTEMPTS
    assert said == ["warning"] * (revocations.ATTEMPTS - 1) + ["error"]
    assert planned(oauth_app) == 0


def test_of_many_tokens_one_is_tried_while_github_gives_no_answer(
    oauth_app: Flask, api: Api, github: GitHubPeer
) -> None:
    api.delete("/api/github/disconnect")
    with oauth_app.app_context():
        # So that PostgreSQL goes on believing that there is one.
        db.session.execute(text("ANALYZE token_revocations"))
        cipher = Cipher.of(oauth_app.config["AUTOSTACK"])
        for number in range(3):
            revocations.plan(cipher.encrypt(f"gho_{number}"))
        db.session.commit()
    github.faults[PATH] = Fault.ERROR
    work_off(oauth_app)
    assert asked(github) == 1
    with oauth_app.app_context():
        assert sorted(db.session.scalars(select(TokenRevocation.attempts))) == [0, 0, 0, 1]
    github.faults.clear()
    let_time_pass(oauth_app)
    with oauth_app.app_context():
        jobs.revoke_tokens()
    assert planned(oauth_app) == 0


def test_a_token_that_its_user_took_back_there_is_no_trouble(oauth_app: Flask, api: Api, github: GitHubPeer) -> None:
    github.tokens.clear()
    with recorded(oauth_app.config["AUTOSTACK"]) as lines:
        api.delete("/api/github/disconnect")
        work_off(oauth_app)
        assert "keeps a token" not in lines.read()
    assert (planned(oauth_app), asked(github)) == (0, 1)


def test_a_token_whose_key_is_gone_or_whose_github_is_none_of_ours_any_more_is_forgotten(
    oauth_app: Flask, make_app: AppMaker, api: Api, github: GitHubPeer, google: GooglePeer
) -> None:
    registered = registered_with(github, google)
    for other in ({"encryption_keys": Fernet.generate_key().decode()}, {"github_client_id": None}):
        with oauth_app.app_context():
            revocations.plan(Cipher.of(oauth_app.config["AUTOSTACK"]).encrypt("gho_lost"))
            db.session.commit()
        changed = make_app(**{**registered, **other})
        with changed.app_context():
            jobs.revoke_tokens()
        assert (planned(oauth_app), asked(github)) == (0, 0)
