"""What GitHub and Google, or somebody between, do wrong: a page, and never an account."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.conftest import AppMaker
from tests.log_lines import recorded
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
from tests.peers.github import API, GitHubPeer, email, github_account
from tests.peers.google import DISCOVERY, GooglePeer, new_key, signed
from tests.peers.oauth_server import CLIENT_SECRET, Fault
from tests.people import Browser

OCTO = "octo@example.com"
GINA = "gina@example.com"


def test_who_says_no_is_told_so_and_stays_outside(visitor: Browser, github: GitHubPeer) -> None:
    answered = come_back(visitor, github.decide(begin(visitor, "github"), "no"))
    assert answered.status_code == 403
    assert "did not agree" in answered.text
    assert "Back to the login" in answered.text
    assert signed_in_as(visitor) is None


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("GitHub", GitHubPeer.token_path),
        ("GitHub", f"{API}/user"),
        ("GitHub", f"{API}/user/emails"),
        ("Google", DISCOVERY),
        ("Google", GooglePeer.token_path),
        ("Google", "/certs"),
    ],
)
def test_a_provider_that_fails_is_a_page_and_no_account(
    oauth_app: Flask, visitor: Browser, github: GitHubPeer, google: GooglePeer, name: str, path: str, fault: Fault
) -> None:
    peer = {"GitHub": github, "Google": google}[name]
    location = peer.decide(begin(visitor, name.lower()))
    peer.faults[path] = fault
    answered = come_back(visitor, location)
    assert answered.status_code == 502
    assert f"{name} did not give a usable answer" in answered.text
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
