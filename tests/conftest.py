"""What tests share: real PostgreSQL and Valkey (one of each a pytest worker), the application, and people.

Every test that asks for `app` starts with empty tables and an empty Valkey. No application context is open in a test
unless it opens one: requests must not share `g`.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from autostack import create_app
from autostack.extensions import db, redis, store
from autostack.settings import Settings, load_settings
from autostack.web.rate_limits import limiter
from tests.git_server import GitServer, make_repository, serve_repositories
from tests.jobs import serving_app
from tests.oauth import registered_with
from tests.peers.dns_server import DnsServer, running_dns
from tests.peers.ecs import EcsPeer, running_ecs
from tests.peers.github import GitHubPeer, running_github
from tests.peers.google import GooglePeer, running_google
from tests.peers.oauth_server import Fault
from tests.people import Api, Browser, Person, make_person
from tests.s3 import S3Server, free_port, running_s3
from tests.services import running_postgres, running_valkey

# A suite that a shell runs in the background, or nohup, has signals ignored or blocked, and so would all that it
# starts. Those from 32 on the C library keeps for itself.
signal.pthread_sigmask(signal.SIG_SETMASK, ())
for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
    if number < 32 and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# Whatever proxy leads elsewhere: all that tests ask is on this machine.
if any(name in os.environ for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")):
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"

# On a loaded machine, drawing an example takes as long as it takes: no property of ours is about that.
hypothesis.settings.register_profile(
    "unhurried",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unhurried")

# What a page is to show is awaited, and on a loaded machine that may take a while: no test is about how long.
PAGE_TIMEOUT_MS = 60_000
expect.set_options(timeout=PAGE_TIMEOUT_MS)

TESTS = Path(__file__).parent
MIGRATIONS = TESTS.parent / "migrations"
# More than a minute each; those that take longest first.
LONG = (
    "integration/test_up.py",
    "integration/test_agent_shelf.py",
    "integration/test_agent_builds.py",
    "integration/test_schemathesis.py",
)
# Tests make more requests than a person does; those about limits set their own.
UNLIMITED = "100000/minute"

NUMBERS_BEGIN_ANEW = "SELECT setval('deployments_sequence_seq', 1, false)"

AppMaker = Callable[..., Flask]
Patient = TypeVar("Patient", BrowserContext, Page)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: a process that comes to one last is waited for by all others."""
    items.sort(key=lambda item: _turn(item.path.relative_to(TESTS).as_posix()))


def _turn(file: str) -> int:
    # Those in Chromium stay together, and share a product.
    if file.startswith("e2e/"):
        return 0
    return LONG.index(file) + 1 if file in LONG else len(LONG) + 1


def pytest_collection_finish() -> None:
    """Look for no garbage among the thousands of tests: it takes longer than most of them."""
    gc.freeze()


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
        browser = playwright.chromium.launch(executable_path=program, args=arguments, timeout=3 * PAGE_TIMEOUT_MS)
        browser.new_context = _patient(browser.new_context)  # type: ignore[method-assign]
        browser.new_page = _patient(browser.new_page)  # type: ignore[method-assign]
        yield browser
        browser.close()


def _patient(opens: Callable[..., Patient]) -> Callable[..., Patient]:
    """Have what a browser opens wait for each step as long as `expect` does."""

    def opened(**options: Any) -> Patient:
        one = opens(**options)
        one.set_default_timeout(PAGE_TIMEOUT_MS)
        return one

    return opened


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
        # On a machine that does much else. Tests of who does not answer set their own.
        patient = {"repo_timeout_s": 60, "dns_timeout_s": 30}
        services = {"database_url": database_url, "redis_url": redis_url, "data_dir": data_dir}
        return load_settings(**{**services, **quick, **patient, "rate_limit_deployments": UNLIMITED, **overrides})

    return make


@pytest.fixture(scope="session")
def dns_server() -> Iterator[DnsServer]:
    """The DNS that the application asks. Ask for `dns` instead."""
    with running_dns() as server:
        yield server


@pytest.fixture
def dns(dns_server: DnsServer) -> DnsServer:
    """A DNS in which there is nothing yet."""
    dns_server.reset()
    return dns_server


@pytest.fixture(scope="session")
def migrated_app(make_settings: Callable[..., Settings], dns_server: DnsServer) -> Flask:
    """The application on a migrated database, made once. Ask for `app` instead."""
    known = {"repo_hosts_allowed": frozenset({"127.0.0.1"}), "dns_servers": dns_server.address}
    app = create_app(make_settings(**known))
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
        # TRUNCATE makes each table's files anew, which takes twenty times as long as deleting the few rows of a test.
        tables = [table.name for table in reversed(db.metadata.sorted_tables)]
        # What the test before has left running must not write between two of these.
        lock = f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE"
        deletes = [f"DELETE FROM {table}" for table in tables]
        db.session.connection().exec_driver_sql("; ".join([lock, *deletes, NUMBERS_BEGIN_ANEW]))
        db.session.commit()
        redis().flushall()
        store().delete_prefix("routes")
    return migrated_app


@pytest.fixture
def make_app(app: Flask, make_settings: Callable[..., Settings]) -> AppMaker:
    """Return applications with other settings, on the same emptied services as `app`."""

    def make(**overrides: Any) -> Flask:
        other = create_app(make_settings(**overrides))
        # One limiter serves all applications of a process, and remembers that another one's Redis was away.
        limiter._storage_dead = False
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
def oauth_timeout_s(request: pytest.FixtureRequest) -> int:
    """How long GitHub and Google are waited for: a moment where a test has them stall, else long on a busy machine."""
    fault = request.node.callspec.params.get("fault") if hasattr(request.node, "callspec") else None
    return 2 if fault in {Fault.STALL, Fault.TRICKLE} else 20


@pytest.fixture
def oauth_app(
    app: Flask,
    registered_app: Flask,
    github: GitHubPeer,
    google: GooglePeer,
    oauth_timeout_s: int,
    monkeypatch: pytest.MonkeyPatch,
) -> Flask:
    """The application as GitHub and Google know it, on the same emptied services as `app`."""
    patient = registered_app.config["AUTOSTACK"].model_copy(update={"oauth_timeout_s": oauth_timeout_s})
    monkeypatch.setitem(registered_app.config, "AUTOSTACK", patient)
    return registered_app


@pytest.fixture
def visitor(oauth_app: Flask) -> Browser:
    """A browser that is signed in as nobody, where GitHub and Google can be asked."""
    return Browser(oauth_app)


@pytest.fixture
def ecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EcsPeer]:
    """An ECS that really starts the agent for a task."""
    with running_ecs(tmp_path) as peer:
        for name, value in peer.environment().items():
            monkeypatch.setenv(name, value)
        yield peer


@pytest.fixture
def ecs_app(make_app: AppMaker, ecs: EcsPeer, request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The application as it builds on ECS, where agents reach it, on the same emptied services as `app`.

    Its parameter, where a test gives one, are settings.
    """
    port = free_port()
    reached = {"agent_api_url": f"http://127.0.0.1:{port}", "repo_hosts_allowed": frozenset({"127.0.0.1"})}
    quick = {"sweep_interval_s": 1, "heartbeat_interval_s": 1, "heartbeat_timeout_s": 3, "ecs_start_timeout_s": 5}
    app = make_app(**{**ecs.settings(), **reached, **quick, **getattr(request, "param", {})})
    with serving_app(app, port):
        yield app


@pytest.fixture
def ecs_api(ecs_app: Flask, alice: Person) -> Api:
    """Alice's API where builds run on ECS."""
    return Api(ecs_app, alice.token)


@pytest.fixture
def deploy_on_ecs(ecs_api: Api, project: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Have Alice's project deployed, and return the deployment."""
    return lambda: ecs_api.post("/api/deployments", {"projectId": project["id"]}).json


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
