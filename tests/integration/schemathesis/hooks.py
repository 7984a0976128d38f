"""What `st` loads: who asks. A sign-in is kept until a request may have ended it, so that this harms no other."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import requests
import schemathesis

CREDENTIALS = {"email": os.environ.get("TESTER_EMAIL"), "password": os.environ.get("TESTER_PASSWORD")}
ADDRESS = os.environ["TESTED_API"]
TIMEOUT_S = 60
# Logging out, ending sessions, changing the password.
ENDING_SESSIONS = ("/api/auth/", "/api/user/")

T = TypeVar("T")


class SignIn(ABC, Generic[T]):
    """Somebody who is signed in."""

    _kept: T | None = None

    def get(self, case: schemathesis.Case, context: Any) -> T:
        found = self._kept or self.sign_in()
        ends = case.method != "GET" and case.operation.path.startswith(ENDING_SESSIONS)
        self._kept = None if ends else found
        return found

    @abstractmethod
    def sign_in(self) -> T:
        """Return what the next requests come with."""


class Token(SignIn[str]):
    """Somebody with a program: an access token."""

    def sign_in(self) -> str:
        answered = requests.post(f"{ADDRESS}/api/auth/login", json=CREDENTIALS, timeout=TIMEOUT_S)
        return str(answered.json()["token"])

    def set(self, case: schemathesis.Case, data: str, context: Any) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


class Browser(SignIn[tuple[str, str]]):
    """Somebody in a browser: the cookie of a session, and the token that our pages send with what they write."""

    def sign_in(self) -> tuple[str, str]:
        with requests.Session() as browser:
            form = {**CREDENTIALS, "csrf_token": self._csrf_token(browser, "/login")}
            answered = browser.post(f"{ADDRESS}/login", data=form, allow_redirects=False, timeout=TIMEOUT_S)
            assert answered.status_code == 303, answered.text
            return browser.cookies["session"], self._csrf_token(browser, "/settings/account")

    def set(self, case: schemathesis.Case, data: tuple[str, str], context: Any) -> None:
        # A bearer token that was made up would count more than the cookie.
        case.headers.pop("Authorization", None)
        case.cookies["session"], case.headers["X-CSRFToken"] = data

    def _csrf_token(self, browser: requests.Session, path: str) -> str:
        page = browser.get(f"{ADDRESS}{path}", timeout=TIMEOUT_S).text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found, page
        return found[1]


if way := {"token": Token, "browser": Browser}.get(os.environ.get("TESTER_COMES_WITH", "")):
    schemathesis.auth(refresh_interval=None)(way)
