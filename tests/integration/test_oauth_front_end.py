"""Signing in by GitHub and Google for tokens: of a front end elsewhere, and of a client that asks for JSON."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update
from werkzeug.test import TestResponse

from autostack.accounts import one_time, service, sign_in_codes
from autostack.accounts.models import SignInCode, User
from autostack.accounts.one_time import Purpose
from autostack.extensions import db, redis
from tests.conftest import AppMaker
from tests.oauth import (
    HTML,
    accounts,
    begin,
    come_back,
    parameters,
    registered_with,
    sent_to,
    set_user,
    signed_in_as,
    user_of,
)
from tests.peers.github import GitHubPeer
from tests.peers.google import GooglePeer
from tests.peers.oauth_server import Fault, OAuthServer
from tests.people import PASSWORD, Api, Browser, make_person

ORIGIN = "https://app.example.com"
FRONTEND = f"{ORIGIN}/welcome?lang=en"
OCTO = "octo@example.com"
JSON = {"Accept": "application/json"}


@dataclass
class FrontEnd:
    """What runs at FRONTEND_URL in somebody's browser: it keeps a verifier and shows its challenge only."""

    app: Flask
    browser: Browser
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def challenge(self) -> str:
        return urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()

    def visit(self, peer: OAuthServer, provider: str = "github", answer: str = "yes", **query: str) -> str:
        """Sign in there and come back; return where the browser is sent then."""
        begun = begin(self.browser, provider, codeChallenge=self.challenge, **query)
        answered = come_back(self.browser, peer.decide(begun, answer))
        assert answered.status_code == 302, answered.text
        return str(answered.location)

    def code(self, peer: OAuthServer) -> str:
        return parameters(self.visit(peer))["code"]

    def trade(self, code: str, verifier: str | None = None) -> TestResponse:
        return Api(self.app).post("/api/auth/exchange", {"code": code, "codeVerifier": verifier or self.verifier})


@pytest.fixture
def front_end_app(make_app: AppMaker, github: GitHubPeer, google: GooglePeer) -> Flask:
    return make_app(**registered_with(github, google), frontend_url=FRONTEND)


@pytest.fixture
def front_end(front_end_app: Flask) -> FrontEnd:
    return FrontEnd(front_end_app, Browser(front_end_app))


def refused(answered: TestResponse) -> bool:
    return (answered.status_code, answered.json["error"]["code"]) == (401, "INVALID_CODE")


@pytest.mark.parametrize("provider", ["github", "google"])
def test_a_front_end_gets_a_code_and_for_that_tokens(
    front_end: FrontEnd, github: GitHubPeer, google: GooglePeer, provider: str
) -> None:
    peer: OAuthServer = {"github": github, "google": google}[provider]
    location = front_end.visit(peer, provider)
    assert location.startswith(f"{FRONTEND}&code=")
    assert set(parameters(location)) == {"lang", "code"}
    answered = front_end.trade(parameters(location)["code"])
    assert answered.status_code == 200
    assert set(answered.json) == {"token", "refreshToken", "expiresIn", "user"}
    shown = Api(front_end.app, answered.json["token"]).get("/api/auth/session")
    assert shown.json["user"] == answered.json["user"]
    renewed = Api(front_end.app).post("/api/auth/refresh", {"refreshToken": answered.json["refreshToken"]})
    assert renewed.status_code == 200


def test_the_browser_itself_is_signed_in_nowhere_by_that(front_end: FrontEnd, github: GitHubPeer) -> None:
    front_end.code(github)
    assert signed_in_as(front_end.browser) is None


def test_nor_is_who_was_signed_in_at_the_dashboard_signed_out(front_end: FrontEnd, github: GitHubPeer) -> None:
    front_end.browser.sign_in(make_person(front_end.app, "Olga", "olga@example.com"))
    user = front_end.trade(front_end.code(github)).json["user"]
    assert (user["email"], signed_in_as(front_end.browser)) == (OCTO, "olga@example.com")


def test_a_page_of_the_front_end_may_read_the_tokens(front_end: FrontEnd, github: GitHubPeer) -> None:
    body = {"code": front_end.code(github), "codeVerifier": front_end.verifier}
    answered = front_end.app.test_client().post("/api/auth/exchange", json=body, headers={"Origin": ORIGIN})
    assert (answered.status_code, answered.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert answered.headers["Cache-Control"] == "no-store"


def test_an_emptied_redis_on_the_way_costs_no_code(front_end: FrontEnd, github: GitHubPeer) -> None:
    code = front_end.code(github)
    with front_end.app.app_context():
        redis().flushall()
    assert front_end.trade(code).status_code == 200


# What a code is worth


def test_a_code_is_good_once(front_end: FrontEnd, github: GitHubPeer) -> None:
    code = front_end.code(github)
    token = front_end.trade(code).json["token"]
    assert refused(front_end.trade(code))
    assert Api(front_end.app, token).get("/api/auth/session").status_code == 200


def test_of_many_trades_at_once_one_succeeds(front_end: FrontEnd, github: GitHubPeer) -> None:
    code = front_end.code(github)
    with ThreadPoolExecutor(8) as pool:
        statuses = [answered.status_code for answered in pool.map(lambda _: front_end.trade(code), range(8))]
    assert sorted(statuses) == [200] + [401] * 7


def test_a_stolen_code_is_worth_nothing_and_stays_its_owners(front_end: FrontEnd, github: GitHubPeer) -> None:
    code = front_end.code(github)
    for verifier in ("v" * 43, front_end.challenge, front_end.verifier.swapcase()):
        assert refused(front_end.trade(code, verifier))
    assert front_end.trade(code).status_code == 200


def test_a_code_of_one_sign_in_is_none_of_another(front_end: FrontEnd, github: GitHubPeer) -> None:
    other = FrontEnd(front_end.app, Browser(front_end.app))
    mine, theirs = front_end.code(github), other.code(github)
    assert refused(front_end.trade(theirs))
    assert refused(other.trade(mine))


@pytest.mark.parametrize("code", ["never was one", "\u00e9", "x" * 200])
def test_what_is_no_code_is_refused_alike(front_end: FrontEnd, code: str) -> None:
    assert refused(front_end.trade(code))


@pytest.mark.parametrize("verifier", ["", "v" * 42, "v" * 129, "v" * 42 + "/", f" {'v' * 43}"])
def test_a_verifier_is_as_rfc_7636_says(front_end: FrontEnd, verifier: str) -> None:
    answered = Api(front_end.app).post("/api/auth/exchange", {"code": "x", "codeVerifier": verifier})
    assert (answered.status_code, list(answered.json["error"]["details"])) == (422, ["codeVerifier"])


def test_a_code_expires_within_a_minute_and_is_forgotten(front_end: FrontEnd, github: GitHubPeer) -> None:
    code = front_end.code(github)
    with front_end.app.app_context():
        [kept] = db.session.scalars(select(SignInCode)).all()
        assert round((kept.expires_at - kept.created_at).total_seconds()) <= 60
        db.session.execute(update(SignInCode).values(expires_at=func.now()))
        db.session.commit()
    assert refused(front_end.trade(code))
    front_end.code(github)
    with front_end.app.app_context():
        assert db.session.scalar(select(func.count()).select_from(SignInCode)) == 1


def test_the_database_does_not_hold_it(front_end: FrontEnd, github: GitHubPeer) -> None:
    code = front_end.code(github)
    with front_end.app.app_context():
        [row] = db.session.scalars(text("SELECT c::text FROM sign_in_codes c")).all()
    assert code not in row
    assert front_end.verifier not in row


def test_trades_count_as_attempts_to_authenticate(make_app: AppMaker, github: GitHubPeer, google: GooglePeer) -> None:
    app = make_app(**registered_with(github, google), frontend_url=FRONTEND, rate_limit_auth="2/minute")
    front_end = FrontEnd(app, Browser(app))
    assert [front_end.trade("guessed").status_code for _ in range(3)] == [401, 401, 429]


# What happens between the sign-in and the trade


def test_a_suspended_user_gets_no_tokens(front_end: FrontEnd, github: GitHubPeer) -> None:
    code = front_end.code(github)
    set_user(front_end.app, OCTO, is_active=False)
    answered = front_end.trade(code)
    assert (answered.status_code, answered.json["error"]["code"]) == (403, "ACCOUNT_CLOSED")
    set_user(front_end.app, OCTO, is_active=True)
    assert refused(front_end.trade(code))


def reset_by_mail(app: Flask) -> None:
    secret = one_time.issue(user_of(app, OCTO)["id"], Purpose.RESET_PASSWORD, datetime.now(UTC) + timedelta(minutes=1))
    service.reset_password(secret, "an entirely new one")


def delete_the_account(app: Flask) -> None:
    db.session.execute(text("DELETE FROM users"))
    db.session.commit()


@pytest.mark.parametrize("end", [reset_by_mail, delete_the_account])
def test_what_ends_all_sessions_ends_codes_too(
    front_end: FrontEnd, github: GitHubPeer, end: Callable[[Flask], None]
) -> None:
    code = front_end.code(github)
    with front_end.app.app_context():
        end(front_end.app)
    assert refused(front_end.trade(code))


def test_a_code_for_what_was_reset_meanwhile_is_not_given(front_end: FrontEnd, github: GitHubPeer) -> None:
    front_end.code(github)
    app = front_end.app
    with app.app_context():
        user = db.session.scalars(select(User)).one()
        with app.app_context():
            reset_by_mail(app)
        with pytest.raises(service.InvalidCredentials):
            sign_in_codes.issue(user, front_end.challenge)


# Where it leads


@pytest.mark.parametrize(
    "query",
    [
        {"next": "https://evil.example"},
        {"next": "//evil.example"},
        {"next": "/elsewhere"},
        {"redirect_uri": "https://evil.example", "redirectUri": "https://evil.example", "client": "evil"},
    ],
    ids=str,
)
def test_a_code_goes_to_the_front_end_whatever_is_asked_for(
    front_end: FrontEnd, github: GitHubPeer, query: dict[str, str]
) -> None:
    location = front_end.visit(github, **query)
    assert location.startswith(f"{FRONTEND}&code=")


@pytest.mark.parametrize("challenge", ["short", "x" * 44, "x" * 42 + "=", " " + "x" * 43])
def test_a_challenge_that_is_none_begins_nothing(front_end: FrontEnd, github: GitHubPeer, challenge: str) -> None:
    answered = front_end.browser.get("/api/auth/github", query_string={"codeChallenge": challenge}, headers=JSON)
    assert (answered.status_code, list(answered.json["error"]["details"])) == (422, ["codeChallenge"])


@pytest.mark.parametrize("frontend_url", [None, "http://localhost:8000", "http://localhost:8000/app"])
def test_where_the_dashboard_is_the_front_end_there_are_no_codes(
    make_app: AppMaker, github: GitHubPeer, google: GooglePeer, frontend_url: str | None
) -> None:
    browser = Browser(make_app(**registered_with(github, google), frontend_url=frontend_url))
    answered = browser.get("/api/auth/github", query_string={"codeChallenge": "x" * 43}, headers=JSON)
    assert (answered.status_code, answered.json["error"]["code"]) == (404, "NO_FRONT_END")


def test_a_front_end_that_is_taken_away_meanwhile_gets_nothing(
    front_end: FrontEnd, oauth_app: Flask, github: GitHubPeer
) -> None:
    location = github.decide(begin(front_end.browser, "github", codeChallenge=front_end.challenge))
    elsewhere = Browser(oauth_app)
    elsewhere.client.set_cookie("session", front_end.browser.cookie() or "")
    answered = come_back(elsewhere, location)
    assert (answered.status_code, signed_in_as(elsewhere)) == (404, None)


def test_a_front_end_hears_of_what_went_wrong(front_end: FrontEnd, github: GitHubPeer) -> None:
    assert front_end.visit(github, answer="no") == f"{FRONTEND}&error=ACCESS_DENIED"
    github.faults[github.token_path] = Fault.ERROR
    assert front_end.visit(github) == f"{FRONTEND}&error=PROVIDER_UNAVAILABLE"
    github.reset()
    front_end.code(github)
    set_user(front_end.app, OCTO, is_active=False)
    assert front_end.visit(github) == f"{FRONTEND}&error=ACCOUNT_CLOSED"


def test_who_did_not_begin_it_is_not_sent_there(front_end: FrontEnd, github: GitHubPeer) -> None:
    location = github.decide(begin(front_end.browser, "github", codeChallenge=front_end.challenge))
    stranger = Browser(front_end.app)
    assert come_back(stranger, location).status_code == 400


def test_the_page_for_the_password_leads_to_the_front_end_as_well(front_end: FrontEnd, github: GitHubPeer) -> None:
    make_person(front_end.app, "Olga", OCTO)
    assert front_end.visit(github) == "/login/link"
    url = sent_to(front_end.browser.post("/login/link", {"password": PASSWORD}))
    assert url.startswith(f"{FRONTEND}&code=")
    assert signed_in_as(front_end.browser) is None
    assert front_end.trade(parameters(url)["code"]).json["user"]["email"] == OCTO


# A client that asks for JSON


def begun(browser: Browser, github: GitHubPeer) -> str:
    return github.decide(begin(browser, "github"))


@pytest.mark.parametrize("accept", ["application/json", "application/json, text/plain, */*"])
def test_who_asks_for_json_is_answered_with_tokens(visitor: Browser, github: GitHubPeer, accept: str) -> None:
    location = begun(visitor, github)
    answered = come_back(visitor, location, {"Accept": accept})
    assert (answered.status_code, answered.headers["Cache-Control"]) == (200, "no-store")
    assert Api(visitor.app, answered.json["token"]).get("/api/auth/session").json["user"]["email"] == OCTO
    assert signed_in_as(visitor) is None
    again = come_back(visitor, location, JSON)
    assert (again.status_code, again.json["error"]["code"]) == (400, "INVALID_STATE")


@pytest.mark.parametrize("headers", [HTML, {"Accept": "*/*"}, {}], ids=str)
def test_anybody_else_is_a_browser(visitor: Browser, github: GitHubPeer, headers: dict[str, str]) -> None:
    assert come_back(visitor, begun(visitor, github), headers).location == "/dashboard"
    assert signed_in_as(visitor) == OCTO


def test_json_is_for_the_client_that_began_it(oauth_app: Flask, visitor: Browser, github: GitHubPeer) -> None:
    location = begun(visitor, github)
    assert come_back(Browser(oauth_app), location, JSON).status_code == 400
    assert accounts(oauth_app) == 0


def test_an_account_that_takes_its_password_is_no_answer_in_json(
    oauth_app: Flask, visitor: Browser, github: GitHubPeer
) -> None:
    make_person(oauth_app, "Olga", OCTO)
    answered = come_back(visitor, begun(visitor, github), JSON)
    assert (answered.status_code, answered.json["error"]["code"]) == (409, "OTHER_WAY_FIRST")
    assert user_of(oauth_app, OCTO)["github_id"] is None


def test_a_front_ends_sign_in_gives_a_code_also_where_json_is_asked_for(
    front_end: FrontEnd, github: GitHubPeer
) -> None:
    location = github.decide(begin(front_end.browser, "github", codeChallenge=front_end.challenge))
    assert come_back(front_end.browser, location, JSON).location.startswith(f"{FRONTEND}&code=")
