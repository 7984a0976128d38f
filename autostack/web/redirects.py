"""Redirects that stay on this site."""

from __future__ import annotations

import re

from flask import Response, make_response, redirect

from autostack.web.htmx import is_htmx, redirect_to

# One slash and then no other: `//evil` and `/\evil` are other hosts to a browser, which also drops tabs and line ends.
LOCAL_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\x7f\\]*")


def local_path(target: str | None, default: str) -> str:
    """Return `target` if it is a path of this site, else `default`."""
    return target if target and LOCAL_PATH.fullmatch(target) else default


def see_other(location: str) -> Response:
    """Send a browser on after a form was handled, whether or not HTMX sent it."""
    return redirect_to(location) if is_htmx() else make_response(redirect(location, code=303))
