"""What tests share: real PostgreSQL and Valkey (one of each a pytest worker), the application, and people.

Every test that asks for `app` starts with empty tables and an empty Valkey. No application context is open in a test
unless it opens one: requests must not share `g`.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import sync_playwright
from sqlalchemy import text

from autostack import create_app
from autostack.extensions import db, redis, store
from autostack.settings import Settings, load_settings
from tests.git_server import GitServer, make_repository, serve_repositories
from tests.oauth import registered_with
from tests.peers.github import GitHubPeer, running_github
from tests.peers.google import GooglePeer, running_google
from tests.people import Api, Browser, Person, make_person
from tests.s3 import S3Server, running_s3
from tests.services import running_postgres, running_valkey

# A suite that a shell runs in the background has the terminal's interrupt ignored, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MIGRATIONS = Path(__file__).parents[1] / "migrations"
# Tests make more requests than a person does; those about limits set their own.
UNLIMITED = "100000/minute"

AppMaker = Callable[..., Flask]


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of this worker's own."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of this worker's own."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS of this worker's own."""
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """The system's Chromium, for one module: while Playwright is there, no other event loop can run in its thread."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def make_settings(
    database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Settings]:
    """Return settings of this worker's services; keyword arguments override by field name."""
    data_dir = tmp_path_factory.mktemp("data")
    for name in ("AUTOSTACK_ENV", "NODE_ENV", "STORAGE_URL", "S3_BUCKET"):
        os.environ.pop(name, None)

    def make(**overrides: Any) -> Settings:
        # No proxy listens in most tests, so that a publisher waits for a route's time to live.
        quick = {"bcrypt_rounds": 4, "route_ttl_ms": 1, "rate_limit_auth": UNLIMITED, "rate_limit_api": UNLIMITED}
        services = {"database_url": database_url, "redis_url": redis_url, "data_dir": data_dir}
        return load_settings(**{**services, **quick, "rate_limit_deployments": UNLIMITED, **overrides})

    return make


@pytest.fixture(scope="session")
def migrated_app(make_settings: Callable[..., Settings]) -> Flask:
    """The application on a migrated database, made once. Ask for `app` instead."""
    app = create_app(make_settings(repo_hosts_allowed=frozenset({"127.0.0.1"})))
    app.testing = True
    # An error must become the answer that a client gets, not an exception in the test.
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with app.app_context():
        upgrade(directory=str(MIGRATIONS))
    return app


@pytest.fixture
def app(migrated_app: Flask) -> Flask:
    """The application, with empty tables and an empty Valkey."""
    with migrated_app.app_context():
        names = ", ".join(table.name for table in db.metadata.sorted_tables)
        db.session.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        db.session.commit()
        redis().flushall()
        store().delete_prefix("routes")
    return migrated_app


@pytest.fixture
def make_app(app: Flask, make_settings: Callable[..., Settings]) -> AppMaker:
    """Return applications with other settings, on the same emptied services as `app`."""

    def make(**overrides: Any) -> Flask:
        other = create_app(make_settings(**overrides))
        other.testing = True
        other.config["PROPAGATE_EXCEPTIONS"] = False
        return other

    return make


@pytest.fixture(scope="session")
def providers() -> Iterator[tuple[GitHubPeer, GooglePeer]]:
    """The servers that play GitHub and Google. Ask for `github` and `google` instead."""
    with running_github() as github, running_google() as google:
        yield github, google


@pytest.fixture(scope="session")
def registered_app(make_settings: Callable[..., Settings], providers: tuple[GitHubPeer, GooglePeer]) -> Flask:
    """The application as GitHub and Google know it, made once. Ask for `oauth_app` instead."""
    registered = create_app(make_settings(**registered_with(*providers)))
    registered.testing = True
    registered.config["PROPAGATE_EXCEPTIONS"] = False
    return registered


@pytest.fixture
def github(providers: tuple[GitHubPeer, GooglePeer]) -> GitHubPeer:
    """GitHub, where a browser is signed in as `octo`."""
    providers[0].reset()
    return providers[0]


@pytest.fixture
def google(providers: tuple[GitHubPeer, GooglePeer]) -> GooglePeer:
    """Google, where a browser is signed in as `gina`."""
    providers[1].reset()
    return providers[1]


@pytest.fixture
def oauth_app(app: Flask, registered_app: Flask, github: GitHubPeer, google: GooglePeer) -> Flask:
    """The application as GitHub and Google know it, on the same emptied services as `app`."""
    return registered_app


@pytest.fixture(scope="session")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """`site.git` (main and next), `other.git` (main), `empty.git`."""
    folder = tmp_path_factory.mktemp("git")
    site = make_repository(folder / "site.git", {"index.html": "<h1>hi</h1>"})
    site.commit({"index.html": "<h1>next</h1>"}, branch="next")
    make_repository(folder / "other.git", {"index.html": "other"})
    make_repository(folder / "empty.git")
    with serve_repositories(folder) as server:
        yield server


@pytest.fixture
def site(git_server: GitServer) -> str:
    """The address of a repository with the branches `main` and `next`."""
    return git_server.url("site.git")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that is nobody."""
    return app.test_client()


@pytest.fixture
def alice(app: Flask) -> Person:
    """The owner."""
    return make_person(app, "Alice", "alice@example.com")


@pytest.fixture
def charlie(app: Flask) -> Person:
    """A stranger."""
    return make_person(app, "Charlie", "charlie@example.com")


@pytest.fixture
def api(app: Flask, alice: Person) -> Api:
    """Alice's API client."""
    return Api(app, alice.token)


@pytest.fixture
def strangers_api(app: Flask, charlie: Person) -> Api:
    """Charlie's API client."""
    return Api(app, charlie.token)


@pytest.fixture
def nobodys_api(app: Flask) -> Api:
    """An API client without a token."""
    return Api(app)


@pytest.fixture
def browser(app: Flask, alice: Person) -> Browser:
    """Alice's browser, signed in."""
    return Browser(app).sign_in(alice)


@pytest.fixture
def strangers_browser(app: Flask, charlie: Person) -> Browser:
    """Charlie's browser, signed in."""
    return Browser(app).sign_in(charlie)


@pytest.fixture
def nobodys_browser(app: Flask) -> Browser:
    """A browser that is signed in as nobody."""
    return Browser(app)


@pytest.fixture
def project(api: Api, site: str) -> dict[str, Any]:
    """Alice's project of `site`, as the API shows it."""
    answered = api.post("/api/projects", {"name": "Site", "repository": site})
    assert answered.status_code == 201, answered.text
    return answered.json
