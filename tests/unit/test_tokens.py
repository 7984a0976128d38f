from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from autostack.accounts import tokens
from autostack.accounts.models import User
from autostack.accounts.tokens import TokenType
from autostack.errors import Unauthorized
from autostack.settings import load_settings

SECRET = "a secret of more than thirty-two bytes, for HS256"
SETTINGS = load_settings(jwt_secret=SECRET, refresh_token_secret=SECRET[::-1])
SESSION = uuid.uuid4()
LIFETIME_S = 900


@pytest.fixture
def alice() -> User:
    return User(id=uuid.uuid4(), name="Alice", email="alice@example.com")


def forged(header: dict[str, Any] | None = None, secret: str = SECRET, **claims: Any) -> str:
    now = int(time.time())
    whole = {"userId": str(uuid.uuid4()), "sid": str(SESSION), "typ": "access", "aud": "autostack"}
    whole |= {"iat": now, "exp": now + 60} | claims
    header = header or {"alg": "HS256"}
    return jwt.encode(header, whole, OctKey.import_key(secret), algorithms=[header["alg"]])


def test_an_access_token_says_what_the_spec_says_and_names_its_session(alice: User) -> None:
    token = tokens.access_token(alice, SESSION, LIFETIME_S, SETTINGS)
    claims = jwt.decode(token, OctKey.import_key(SECRET), algorithms=["HS256"]).claims
    assert {name: claims[name] for name in ("userId", "email", "name", "sid", "typ", "aud")} == {
        "userId": str(alice.id),
        "email": "alice@example.com",
        "name": "Alice",
        "sid": str(SESSION),
        "typ": "access",
        "aud": "autostack",
    }
    assert claims["exp"] - claims["iat"] == LIFETIME_S
    assert tokens.read(token, TokenType.ACCESS, SETTINGS) == tokens.Claims(alice.id, SESSION, claims["exp"])


def test_a_refresh_token_carries_the_secret_and_is_no_access_token(alice: User) -> None:
    token = tokens.refresh_token(alice, SESSION, "secret", LIFETIME_S, SETTINGS)
    claims = tokens.read(token, TokenType.REFRESH, SETTINGS)
    assert (claims.user_id, claims.session_id, claims.secret) == (alice.id, SESSION, "secret")
    with pytest.raises(Unauthorized):
        tokens.read(token, TokenType.ACCESS, SETTINGS)


def test_one_secret_for_both_kinds_still_keeps_them_apart(alice: User, tmp_path: Path) -> None:
    same = load_settings(jwt_secret=SECRET, refresh_token_secret=SECRET, data_dir=tmp_path)
    with pytest.raises(Unauthorized):
        tokens.read(tokens.refresh_token(alice, SESSION, "secret", LIFETIME_S, same), TokenType.ACCESS, same)


@pytest.mark.parametrize(
    "token",
    [
        forged(secret="another secret of more than thirty-two bytes"),
        forged(exp=int(time.time()) - 1),
        forged(exp="never"),
        forged(exp=None),
        forged(iat=int(time.time()) + 3600),
        forged(aud="another service"),
        forged(aud=None),
        forged(typ="refresh"),
        forged(typ=None),
        forged(userId="1"),
        forged(userId=1),
        forged(userId=None),
        forged(sid=["a"]),
        forged({"alg": "HS512"}),
        "eyJhbGciOiJub25lIn0." + forged().split(".")[1] + ".",
        forged() + "x" * 5000,
        "",
        "a.b.c",
        "ä.ö.ü",
    ],
)
def test_a_token_that_is_wrong_in_any_way_is_refused(token: str) -> None:
    with pytest.raises(Unauthorized):
        tokens.read(token, TokenType.ACCESS, SETTINGS)


def test_a_token_that_was_read_before_expires_all_the_same(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.access_token(alice, SESSION, LIFETIME_S, SETTINGS)
    expires_at = tokens.read(token, TokenType.ACCESS, SETTINGS).expires_at
    monkeypatch.setattr(time, "time", lambda: expires_at)
    with pytest.raises(Unauthorized):
        tokens.read(token, TokenType.ACCESS, SETTINGS)


def test_a_token_that_was_read_before_is_worth_nothing_under_another_secret(alice: User, tmp_path: Path) -> None:
    token = tokens.access_token(alice, SESSION, LIFETIME_S, SETTINGS)
    tokens.read(token, TokenType.ACCESS, SETTINGS)
    rotated = load_settings(jwt_secret=SECRET.upper(), refresh_token_secret=SECRET, data_dir=tmp_path)
    with pytest.raises(Unauthorized):
        tokens.read(token, TokenType.ACCESS, rotated)


@given(st.text(max_size=200) | st.from_regex(r"\A[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}\Z"))
def test_no_text_makes_reading_a_token_fail_otherwise(text: str) -> None:
    with pytest.raises(Unauthorized):
        tokens.read(text, TokenType.ACCESS, SETTINGS)
