"""The application registered with the peers that play GitHub and Google, and a browser's way there and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Flask
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from autostack.accounts.models import User
from autostack.extensions import db
from tests.peers.github import API, GitHubPeer
from tests.peers.google import GooglePeer
from tests.peers.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from tests.people import Browser

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def registered_with(github: GitHubPeer, google: GooglePeer) -> dict[str, Any]:
    """Return the settings of an installation that both peers know."""
    return {
        "github_client_id": CLIENT_ID,
        "github_client_secret": CLIENT_SECRET,
        "github_url": github.url,
        "github_api_url": github.url + API,
        "google_client_id": CLIENT_ID,
        "google_client_secret": CLIENT_SECRET,
        "google_url": google.url,
    }


def begin(browser: Browser, provider: str, **query: str) -> str:
    """Press the provider's button; return where the browser is sent."""
    answered = browser.get(f"/api/auth/{provider}", query_string=query, headers=HTML)
    assert answered.status_code == 302, answered.text
    return str(answered.location)


def come_back(browser: Browser, location: str, headers: Mapping[str, str] = HTML) -> TestResponse:
    """Follow a provider's redirect back to us."""
    parts = urlsplit(location)
    return browser.get(f"{parts.path}?{parts.query}", headers=headers)


def sign_in(browser: Browser, peer: OAuthServer, provider: str, **query: str) -> TestResponse:
    """Go there, agree, and come back."""
    return come_back(browser, peer.decide(begin(browser, provider, **query)))


def sent_to(page: TestResponse) -> str:
    """Return where a page sends its visitor on to."""
    assert page.status_code == 200, page.text
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page.text)
    assert found, page.text
    return unescape(found[1])


def connect_github(browser: Browser, github: GitHubPeer) -> TestResponse:
    """Press the button on the settings page, agree, and come back."""
    return come_back(browser, github.decide(sent_to(browser.post("/settings/github/connect"))))


def parameters(url: str) -> Mapping[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def user_of(app: Flask, email: str) -> dict[str, Any]:
    """Return an account as the database has it."""
    with app.app_context():
        row = db.session.execute(select(User.__table__).where(User.email == email)).one()
        return dict(row._mapping)


def verify(app: Flask, email: str) -> None:
    """Have an account's address confirmed."""
    with app.app_context():
        db.session.execute(update(User).where(User.email == email).values(email_verified=True))
        db.session.commit()


def set_user(app: Flask, email: str, **values: Any) -> None:
    with app.app_context():
        db.session.execute(update(User).where(User.email == email).values(**values))
        db.session.commit()


def accounts(app: Flask) -> int:
    """Return how many accounts there are."""
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(User)) or 0


def signed_in_as(browser: Browser) -> str | None:
    """Return the address of whom a browser is signed in as."""
    answered = browser.get("/api/auth/session")
    return answered.json["user"]["email"] if answered.status_code == 200 else None
