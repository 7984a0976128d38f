"""What gunicorn itself decides about a request, before the application sees it."""

from __future__ import annotations

import httpx2


def test_no_header_says_what_the_path_is(address: str) -> None:
    for headers in ({}, {"SCRIPT_NAME": "/smuggled"}, {"PATH_INFO": "/healthz"}):
        answered = httpx2.get(f"{address}/smuggled/healthz", headers=headers, trust_env=False, timeout=60)
        assert answered.status_code == 404
    answered = httpx2.get(f"{address}/healthz", headers={"PATH_INFO": "/login"}, trust_env=False, timeout=60)
    assert answered.json() == {"status": "ok"}
