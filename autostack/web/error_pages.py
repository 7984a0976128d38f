"""Errors as people see them: a page, or a fragment for HTMX, each with a way on."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, request, session

from autostack.web.htmx import is_htmx
from autostack.web.redirects import local_path

TITLES = {
    400: "That could not be read",
    403: "This is not for you",
    404: "There is nothing here",
    405: "That does not work this way",
    413: "That is too much at once",
    429: "That was a bit much",
    500: "Something went wrong",
    503: "Not just now",
}
FOR_USERS = (("Dashboard", "/dashboard"), ("Deployments", "/deployments"))
FOR_STRANGERS = (("Home", "/"), ("Log in", "/login"))
WORTH_ANOTHER_TRY = frozenset({429, 500, 502, 503, 504})


def render(status: int, message: str, details: Mapping[str, Any] | None) -> str:
    """Return the page, or the fragment, that says what went wrong."""
    # Not by `render_template`: Flask-Login would then ask the database who this is, which may be what failed.
    template = current_app.jinja_env.get_template("errors/_problem.html" if is_htmx() else "errors/page.html")
    title = TITLES.get(status, HTTPStatus(status).phrase)
    again = request.full_path.rstrip("?") if _may_try_again(status) else None
    return template.render(status=status, title=title, message=message, details=details, again=again, ways=_ways())


def _may_try_again(status: int) -> bool:
    return status in WORTH_ANOTHER_TRY and request.method == "GET" and not is_htmx()


def _ways() -> list[tuple[str, str]]:
    """Return where one may go. The session only hints at who this is: a wrong guess leads to the login and on."""
    back = _form()
    ways = FOR_USERS if "_user_id" in session else FOR_STRANGERS
    return ([("Back to the form", back)] if back else []) + list(ways)


def _form() -> str | None:
    """Return the page that a refused form was on."""
    came_from = urlsplit(request.referrer or "")
    if request.method == "GET" or came_from.netloc != request.host:
        return None
    return local_path(came_from.path, "") or None
