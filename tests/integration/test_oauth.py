"""Signing in by GitHub and Google, which are played by real HTTP servers."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import OctKey
from sqlalchemy import func, select, update

from autostack.accounts.models import OAuthRequest, User
from autostack.extensions import db, redis
from tests.conftest import AppMaker
from tests.log_lines import recorded
from tests.oauth import HTML, begin, come_back, parameters, registered_with, set_user, sign_in, user_of, verify
from tests.peers.github import API, GitHubPeer, email, github_account
from tests.peers.google import DISCOVERY, GooglePeer, google_account, new_key, signed
from tests.peers.oauth_server import CLIENT_SECRET, Fault
from tests.people import PASSWORD, Api, Browser, Person, make_person
from tests.s3 import free_port

OCTO = "octo@example.com"
GINA = "gina@example.com"


@pytest.fixture
def visitor(oauth_app: Flask) -> Browser:
    """A browser that is signed in as nobody."""
    return Browser(oauth_app)


def accounts(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(User)) or 0


def signed_in_as(browser: Browser) -> str | None:
    answered = browser.get("/api/auth/session")
    return answered.json["user"]["email"] if answered.status_code == 200 else None


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
    assert sign_in(first, peer, provider).location == "/projects"
    assert signed_in_as(first) == address
    user = user_of(oauth_app, address)
    assert user[column] == str(peer.account.get("id") or peer.account["sub"])
    assert (user["email_verified"], user["password_hash"]) == (True, None)
    assert user["avatar_url"].startswith("https://")
    assert "Welcome" in first.get("/projects").text

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
        ("//evil.example", "/projects"),
        ("https://evil.example", "/projects"),
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


# What the provider, or somebody between, does wrong


def test_who_says_no_is_told_so_and_stays_outside(visitor: Browser, github: GitHubPeer) -> None:
    answered = come_back(visitor, github.decide(begin(visitor, "github"), "no"))
    assert answered.status_code == 403
    assert "did not agree" in answered.text
    assert "Back to the login" in answered.text
    assert signed_in_as(visitor) is None


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("path", [GitHubPeer.token_path, f"{API}/user", f"{API}/user/emails"])
def test_a_github_that_fails_is_a_page_and_no_account(
    oauth_app: Flask, visitor: Browser, github: GitHubPeer, path: str, fault: Fault
) -> None:
    location = github.decide(begin(visitor, "github"))
    github.faults[path] = fault
    answered = come_back(visitor, location)
    assert answered.status_code == 502
    assert "GitHub did not give a usable answer" in answered.text
    assert accounts(oauth_app) == 0


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("path", [DISCOVERY, GooglePeer.token_path, "/certs"])
def test_a_google_that_fails_is_a_page_and_no_account(
    oauth_app: Flask, visitor: Browser, google: GooglePeer, path: str, fault: Fault
) -> None:
    location = google.decide(begin(visitor, "google"))
    google.faults[path] = fault
    answered = come_back(visitor, location)
    assert answered.status_code == 502
    assert "Google did not give a usable answer" in answered.text
    assert accounts(oauth_app) == 0


TOKEN = {"access_token": "a", "token_type": "bearer"}


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"access_token": "", "token_type": "bearer"},
        {"token_type": "bearer"},
        {**TOKEN, "expires_at": []},
        {**TOKEN, "expires_in": "soon"},
        {**TOKEN, "expires_in": 10**400},
        {**TOKEN, "scope": {}},
        {**TOKEN, "id_token": []},
        {"error": {"not": "text"}},
        {"error": "bad_verification_code", "error_description": None},
    ],
    ids=lambda body: str(body)[:60],
)
@pytest.mark.parametrize("provider", ["github", "google"])
def test_an_odd_answer_to_a_code_is_a_page(
    visitor: Browser, github: GitHubPeer, google: GooglePeer, provider: str, body: object
) -> None:
    peer = {"github": github, "google": google}[provider]
    peer.bodies[peer.token_path] = body
    assert sign_in(visitor, peer, provider).status_code == 502


@pytest.mark.parametrize(
    "keys", [[], {}, {"keys": None}, {"keys": [{}]}, {"keys": [{"kty": "RSA", "n": "%", "e": "AQAB"}]}], ids=str
)
def test_odd_keys_of_google_are_a_page(visitor: Browser, google: GooglePeer, keys: object) -> None:
    google.bodies["/certs"] = keys
    assert sign_in(visitor, google, "google").status_code == 502


def test_a_google_that_is_away_is_a_page_at_once(visitor: Browser, google: GooglePeer) -> None:
    google.faults[DISCOVERY] = Fault.RESET
    answered = visitor.get("/api/auth/google", headers=HTML)
    assert answered.status_code == 502
    assert "Back to the login" in answered.text


def test_our_secret_being_wrong_is_a_page_and_a_line_that_says_so(
    make_app: AppMaker, github: GitHubPeer, google: GooglePeer
) -> None:
    app = make_app(**{**registered_with(github, google), "github_client_secret": "mistyped"})
    with recorded(app.config["AUTOSTACK"]) as lines:
        assert sign_in(Browser(app), github, "github").status_code == 502
        assert "said=incorrect_client_credentials" in lines.read()


@pytest.mark.parametrize(("error", "said"), [("server_error", "server_error"), ("ghp_Secret1!", "None")])
def test_another_refusal_is_a_page_and_only_a_plain_code_is_logged(
    oauth_app: Flask, visitor: Browser, error: str, said: str
) -> None:
    state = parameters(begin(visitor, "google"))["state"]
    with recorded(oauth_app.config["AUTOSTACK"]) as lines:
        answered = come_back(visitor, f"/api/auth/google/callback?error={error}&state={state}")
        assert f"said={said}" in lines.read()
    assert answered.status_code == 502


def test_another_discovery_document_is_not_believed(visitor: Browser, google: GooglePeer) -> None:
    google.issuer = "https://accounts.evil.example"
    assert visitor.get("/api/auth/google", headers=HTML).status_code == 502


WRONG_CLAIMS: list[dict[str, Any]] = [
    {"iss": "https://accounts.evil.example"},
    {"iss": None},
    {"aud": "another client"},
    {"aud": None},
    {"aud": ["another client", "autostack-of-the-tests"], "azp": "another client"},
    {"exp": 1_500_000_000},
    {"exp": None},
    {"iat": 4_000_000_000},
    {"nonce": "of another sign-in"},
    {"nonce": None},
    {"sub": None},
    {"sub": ""},
    {"sub": "1" * 256},
    {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    {"at_hash": [[]]},
]


@pytest.mark.parametrize("change", WRONG_CLAIMS, ids=str)
def test_an_id_token_with_a_wrong_claim_is_refused(
    oauth_app: Flask, visitor: Browser, google: GooglePeer, change: dict[str, Any]
) -> None:
    google.change = change
    assert sign_in(visitor, google, "google").status_code == 502
    assert accounts(oauth_app) == 0


def by_a_key_of_ones_own(claims: dict[str, Any], key: Any) -> str:
    return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, new_key("forged"), algorithms=["RS256"])


def by_an_unknown_key(claims: dict[str, Any], _key: Any) -> str:
    return signed(claims, new_key("unknown"))


def by_nobody(claims: dict[str, Any], _key: Any) -> str:
    return jwt.encode({"alg": "none"}, claims, OctKey.generate_key(), algorithms=["none"])


def by_the_public_key_as_a_secret(claims: dict[str, Any], key: Any) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(key.as_pem(private=False)), algorithms=["HS256"])


def by_our_secret(claims: dict[str, Any], _key: Any) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET), algorithms=["HS256"])


def by_the_right_key_otherwise(claims: dict[str, Any], key: Any) -> str:
    return jwt.encode({"alg": "RS512", "kid": key.kid}, claims, key, algorithms=["RS512"])


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize(
    "sign",
    [
        by_a_key_of_ones_own,
        by_an_unknown_key,
        by_nobody,
        by_the_public_key_as_a_secret,
        by_our_secret,
        by_the_right_key_otherwise,
        lambda _claims, _key: "",
        lambda _claims, _key: "a.b.c",
    ],
)
def test_an_id_token_that_google_did_not_sign_is_refused(
    oauth_app: Flask, visitor: Browser, google: GooglePeer, sign: Any
) -> None:
    google.sign = sign
    assert sign_in(visitor, google, "google").status_code == 502
    assert accounts(oauth_app) == 0


def test_google_may_change_its_keys_at_any_time(visitor: Browser, google: GooglePeer) -> None:
    location = google.decide(begin(visitor, "google"))
    google.key = new_key("second")
    come_back(visitor, location)
    assert signed_in_as(visitor) == GINA


@pytest.mark.parametrize(
    "account",
    [
        {**github_account(7, "nul", email("nul\0@example.com"))},
        {**github_account(7, "none")},
        {**github_account(7, "secondary", email("a@example.com", primary=False))},
        {**github_account(7, "long", email("a" * 300 + "@example.com"))},
        {**github_account(7, "no-address", email("not an address"))},
    ],
    ids=lambda account: account["login"],
)
def test_an_account_without_a_usable_address_is_told_so(
    oauth_app: Flask, visitor: Browser, github: GitHubPeer, account: dict[str, Any]
) -> None:
    github.account = account
    answered = sign_in(visitor, github, "github")
    assert (answered.status_code, accounts(oauth_app)) == (403, 0)


def test_odd_names_and_pictures_do_no_harm(oauth_app: Flask, visitor: Browser, github: GitHubPeer) -> None:
    github.account |= {"name": "<b>O\0c\nto</b>" + "x" * 300, "avatar_url": "javascript:alert(1)"}
    sign_in(visitor, github, "github")
    user = user_of(oauth_app, OCTO)
    assert (user["name"][:13], len(user["name"]), user["avatar_url"]) == ("<b>Octo</b>xx", 255, None)
    assert "<b>Octo" not in visitor.get("/projects").text


# Which account somebody gets into


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
