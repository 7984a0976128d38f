"""What `st` loads: each request is made by a sign-in of its own, so that one that ends its session harms no other."""

from __future__ import annotations

import os
from typing import Any

import requests
import schemathesis

CREDENTIALS = {"email": os.environ.get("TESTER_EMAIL"), "password": os.environ.get("TESTER_PASSWORD")}

if CREDENTIALS["email"]:

    @schemathesis.auth(refresh_interval=None)
    class SignIn:
        def get(self, case: schemathesis.Case, context: Any) -> str:
            address = f"{os.environ['TESTED_API']}/api/auth/login"
            return str(requests.post(address, json=CREDENTIALS, timeout=10).json()["token"])

        def set(self, case: schemathesis.Case, data: str, context: Any) -> None:
            case.headers["Authorization"] = f"Bearer {data}"
