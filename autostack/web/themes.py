"""The theme of pages that know nobody, as sign-in and errors: a cookie that the last choice left in this browser."""

from __future__ import annotations

from flask import Response

from autostack.extensions import settings

COOKIE = "theme"
A_YEAR_S = 31_536_000


def remember_theme(response: Response, theme: str) -> Response:
    """Leave a choice in the browser. Not HttpOnly: the menu's script writes the same cookie, ahead of the answer."""
    response.set_cookie(COOKIE, theme, max_age=A_YEAR_S, secure=settings().is_production, samesite="Lax")
    return response
