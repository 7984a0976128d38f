from __future__ import annotations

import pytest

from autostack.accounts import passwords
from autostack.errors import ConfigurationError
from autostack.settings import load_settings

ROUNDS = 4


@pytest.mark.parametrize("password", ["k4-zebra", "é" * 36, "x" * 72, " leading and trailing "])
def test_a_password_fits_its_own_hash_only(password: str) -> None:
    hashed = passwords.hash_password(password, ROUNDS)
    assert passwords.problem_with(password) is None
    assert passwords.verify(password, hashed, ROUNDS)
    assert not passwords.verify(password[:-1] + "!", hashed, ROUNDS)


@pytest.mark.parametrize("password", ["", "1234567", "x" * 73, "é" * 37])
def test_a_password_that_is_too_short_or_that_bcrypt_would_cut_is_refused(password: str) -> None:
    assert passwords.problem_with(password)


def test_what_is_longer_than_bcrypt_reads_never_fits() -> None:
    assert not passwords.verify("x" * 73, passwords.hash_password("x" * 72, ROUNDS), ROUNDS)


def test_no_password_fits_an_account_without_one() -> None:
    assert not passwords.verify("nobody has this password", None, ROUNDS)


def test_the_cost_is_what_the_settings_say() -> None:
    assert passwords.hash_password("k4-zebra", 5).startswith("$2b$05$")


def test_production_refuses_a_cost_below_the_specs() -> None:
    secrets = dict.fromkeys(("secret_key", "encryption_keys", "jwt_secret", "refresh_token_secret"), "secret")
    production = {"environment": "production", "app_url": "https://autostack.example", **secrets}
    assert load_settings(**production).bcrypt_rounds == 12
    with pytest.raises(ConfigurationError, match="BCRYPT_ROUNDS must be at least 10"):
        load_settings(**production, bcrypt_rounds=9)
