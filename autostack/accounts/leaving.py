"""Sending a browser away to GitHub or Google, to come back with an answer."""

from __future__ import annotations

from flask import Response, make_response, render_template

from autostack.accounts import oauth, oauth_session
from autostack.accounts.oauth import Errand, Purpose
from autostack.accounts.providers import Provider
from autostack.web.access import me


def page(provider: Provider, purpose: Purpose, target: str = "") -> Response:
    """Return the page that leads a signed-in browser there. `target` is a path of ours to come back to.

    Not a redirect: a form's Content-Security-Policy holds for where its answer leads to as well.
    """
    url = oauth.begin(provider, Errand(purpose, me().id, target), oauth_session.browser_secret())
    return make_response(render_template("accounts/leaving.html", where=provider.label, url=url))
