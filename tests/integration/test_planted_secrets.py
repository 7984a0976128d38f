"""Secrets planted in every place that takes one are afterwards in no answer, page, log, error, table, queue or file."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from autostack.accounts.jobs import send_mails
from autostack.extensions import db, redis
from tests.conftest import AppMaker
from tests.jobs import work_off
from tests.log_lines import LogLines, recorded
from tests.mailbox import Mailbox, running_mailbox, token_in
from tests.oauth import come_back, registered_with, sent_to
from tests.peers.github import API, GitHubPeer
from tests.peers.google import GooglePeer
from tests.people import Api, Browser

EMAIL = "olga@example.com"
# Of the installation.
SETTINGS: dict[str, Any] = {
    "secret_key": "planted-secret-key-0a1b2c3d4e5f",
    "jwt_secret": "planted-jwt-secret-0a1b2c3d4e5f6a7b8c9d",
    "refresh_token_secret": "planted-refresh-secret-0a1b2c3d4e5f6a7b",
    "encryption_keys": Fernet.generate_key().decode(),
    "github_client_secret": "planted-github-client-0a1b2c3d",
    "google_client_secret": "planted-google-client-0a1b2c3d",
    "smtp_password": "planted-smtp-password-0a1b",
    "aws_secret_access_key": "planted-aws-secret-0a1b2c3d",
}
# Of its user.
PASSWORD, WRONG, NEXT = "planted pässword one", "planted wröng password", "planted password two"
VARIABLES = {
    "TOKEN": "planted-variable-one/+?",
    "QUOTED": 'planted "variable" two',
    "LINES": "planted-three\nplanted-four",
}
GRANTED, RENEWING = "gho_plantedAccess0a1b2c", "ghr_plantedRenewing0a1b2c"


@dataclass
class Planted:
    """What must be found nowhere. `answers` are all that anybody got."""

    secrets: list[str]
    answers: list[TestResponse] = field(default_factory=list)

    def keep(self, answered: TestResponse) -> TestResponse:
        self.answers.append(answered)
        return answered

    def found_in(self, text: str) -> list[str]:
        return [secret for secret in self.secrets if any(form in text for form in forms(secret))]


def forms(secret: str) -> set[str]:
    """Return how a secret may look in text of another kind."""
    data = secret.encode()
    shifts = {
        base64.b64encode(b"x" * shift + data)[(0, 2, 3)[shift] :].rstrip(b"=")[:-1].decode() for shift in range(3)
    }
    return {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        data.hex(),
        *shifts,
    }


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as running:
        yield running


@pytest.fixture
def installation(make_app: AppMaker, github: GitHubPeer, google: GooglePeer, mailbox: Mailbox) -> Flask:
    """An application that knows all of SETTINGS. Only what the peers must know as well is theirs."""
    known = {**registered_with(github, google), **SETTINGS, "smtp_host": mailbox.host, "smtp_port": mailbox.port}
    return make_app(**known, repo_hosts_allowed=frozenset({"127.0.0.1"}))


@pytest.fixture
def lines(installation: Flask) -> Iterator[LogLines]:
    """Everything that is logged, the least important lines too."""
    with recorded(installation.config["AUTOSTACK"].model_copy(update={"log_level": "debug"})) as found:
        yield found


@pytest.fixture
def planted(installation: Flask, lines: LogLines, github: GitHubPeer, mailbox: Mailbox, site: str) -> Planted:
    """Use everything that takes a secret, well and badly."""
    planted = Planted([*SETTINGS.values(), PASSWORD, WRONG, NEXT, *VARIABLES.values(), GRANTED, RENEWING])
    tokens = sign_up(planted, installation, mailbox)
    use_the_api(planted, Api(installation, tokens["token"]), site)
    use_the_pages(planted, installation, github)
    # Only now: those that it gave away were its own to give.
    planted.secrets += [tokens["token"], tokens["refreshToken"], tokens["reset"]]
    return planted


def sign_up(planted: Planted, app: Flask, mailbox: Mailbox) -> dict[str, str]:
    api = Api(app)
    tokens = api.post("/api/auth/signup", {"name": "Olga", "email": EMAIL, "password": PASSWORD}).json
    for body in (
        {"name": "Olga", "email": EMAIL, "password": PASSWORD},
        {"name": "", "email": "no address", "password": PASSWORD},
        {"name": "Olga", "email": EMAIL, "password": {"deep": PASSWORD}},
        {"name": "Olga", "email": EMAIL, "password": PASSWORD * 20},
    ):
        planted.keep(api.post("/api/auth/signup", body))
    planted.keep(api.post("/api/auth/login", {"email": EMAIL, "password": WRONG}))
    planted.keep(api.post("/api/auth/login", {"email": [WRONG], "password": WRONG}))
    planted.keep(api.post("/api/auth/refresh", {"refreshToken": tokens["refreshToken"][:-3]}))
    planted.keep(api.post("/api/auth/forgot-password", {"email": EMAIL}))
    with app.app_context():
        send_mails()
    reset = next(token_in(mail) for mail in mailbox.mails if "/reset-password" in mail.get_content())
    planted.keep(api.post("/api/auth/reset-password", {"token": reset, "password": "short"}))
    return {**tokens, "reset": reset}


def use_the_api(planted: Planted, api: Api, site: str) -> None:
    planted.keep(api.put("/api/user/password", {"currentPassword": WRONG, "newPassword": NEXT}))
    planted.keep(api.put("/api/user/password", {"currentPassword": PASSWORD, "newPassword": PASSWORD * 20}))
    assert (
        planted.keep(api.put("/api/user/password", {"currentPassword": PASSWORD, "newPassword": NEXT})).status_code
        == 204
    )
    planted.keep(api.delete("/api/user/account", {"password": WRONG}))
    made = planted.keep(api.post("/api/projects", {"name": "Site", "repository": site, "envVars": VARIABLES}))
    assert made.status_code == 201
    path = f"/api/projects/{made.json['id']}"
    value = VARIABLES["TOKEN"]
    for wrong in (
        {"1": value},
        {"A B": value},
        {"NUL": f"{value}\0"},
        {"DEEP": [value]},
        value,
        f"OK=1\n{value}",
        [value],
    ):
        assert planted.keep(api.patch(path, {"envVars": wrong})).status_code == 422
    assert planted.keep(api.post("/api/deployments", {"repository": "Site", "envVars": VARIABLES})).status_code == 201
    # What nobody foresaw: a table that is not as it should be.
    with api.client.application.app_context():
        rename_column("env_vars", "elsewhere")
        assert planted.keep(api.patch(path, {"envVars": VARIABLES})).status_code == 500
        rename_column("elsewhere", "env_vars")


def rename_column(old: str, new: str) -> None:
    db.session.rollback()
    db.session.execute(text(f"ALTER TABLE projects RENAME COLUMN {old} TO {new}"))
    db.session.commit()


def use_the_pages(planted: Planted, app: Flask, github: GitHubPeer) -> None:
    browser = Browser(app)
    planted.keep(browser.post("/login", {"email": EMAIL, "password": WRONG}))
    assert browser.post("/login", {"email": EMAIL, "password": NEXT}).status_code == 303
    planted.keep(browser.post("/settings/account/github/link", {"password": WRONG}))
    grant = {"access_token": GRANTED, "refresh_token": RENEWING, "expires_in": 60, "token_type": "bearer"}
    github.bodies |= {github.token_path: {**grant, "scope": "repo"}, f"{API}/user": github.account}
    url = sent_to(browser.post("/settings/github/connect"))
    assert planted.keep(come_back(browser, github.decide(url))).location == "/settings/github"
    github.bodies[f"{API}/user"] = {"login": GRANTED}
    url = sent_to(browser.post("/settings/github/connect"))
    assert planted.keep(come_back(browser, github.decide(url))).status_code == 502
    put_a_deployment_together(planted, browser)
    look_at_everything(planted, app, browser)
    planted.keep(browser.post("/settings/github/disconnect"))
    work_off(app)
    github.bodies.clear()
    url = sent_to(browser.post("/settings/github/connect"))
    location = github.decide(url)
    github.bodies |= {github.token_path: {**grant, "scope": "repo"}, f"{API}/user": github.account}
    come_back(browser, location)


def put_a_deployment_together(planted: Planted, browser: Browser) -> None:
    """Leave one in the middle of the wizard, after mistakes."""
    with browser.app.app_context():
        project = db.session.scalar(text("SELECT id FROM projects"))
    page = planted.keep(browser.post("/deploy", {"projectId": str(project)})).location
    names, values = list(VARIABLES), list(VARIABLES.values())
    table = {"envRow": ["", "", ""], "envName": names, "envValue": values}
    assert planted.keep(browser.post(page, {"branch": "gone", **table})).status_code == 422
    assert planted.keep(browser.post(page, {"branch": "main", **table, "envName": ["A", "A", "B"]})).status_code == 422
    planted.keep(browser.post(page.replace("configure", "variables"), {"branch": "main", **table}))


def look_at_everything(planted: Planted, app: Flask, browser: Browser) -> None:
    """Open each address that there is, of whatever the owner has."""
    with app.app_context():
        every = text("SELECT id FROM projects UNION SELECT id FROM deployments UNION SELECT id FROM deployment_drafts")
        ids = db.session.scalars(every).all()
    opened = 0
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.websocket and rule.endpoint != "static":
            for id in ids if rule.arguments == {"id"} else [None]:
                path = rule.rule.replace("<uuid:id>", str(id))
                opened += planted.keep(browser.get(path)).status_code == 200
    assert opened > 20


def test_no_answer_has_one(planted: Planted) -> None:
    for answered in planted.answers:
        what = f"{answered.request.method} {answered.request.path} {answered.status_code}"
        assert (what, planted.found_in(f"{answered.headers}\n{answered.text}")) == (what, [])


def test_no_line_of_the_log_has_one(planted: Planted, lines: LogLines) -> None:
    logged = lines.read()
    assert "unhandled error" in logged
    assert "GitHub connected" in logged
    assert planted.found_in(logged) == []


def test_the_database_has_none_in_the_clear(planted: Planted, installation: Flask) -> None:
    with installation.app_context():
        for table in db.metadata.sorted_tables:
            rows = db.session.scalars(text(f"SELECT t::text FROM {table.name} t")).all()
            assert (table.name, planted.found_in("\n".join(rows))) == (table.name, [])
        assert db.session.scalar(text("SELECT count(*) FROM github_connections")) == 1
        assert db.session.scalar(text("SELECT count(*) FROM projects WHERE env_vars LIKE 'gAAAA%'")) == 1


def test_redis_has_none(planted: Planted, installation: Flask) -> None:
    with installation.app_context():
        held = [redis().dump(key) or b"" for key in redis().scan_iter("*")]
        # Jobs are stored compressed.
        fields = [value for key in redis().scan_iter("rq:job:*") for value in redis().hgetall(key).values()]
    assert fields
    for value in [*held, *fields, *map(decompressed, fields)]:
        assert planted.found_in(value.decode(errors="replace")) == []


def decompressed(value: bytes) -> bytes:
    try:
        return zlib.decompress(value)
    except zlib.error:
        return b""


def test_the_store_and_the_data_folder_have_none(planted: Planted, installation: Flask) -> None:
    folder = Path(installation.config["AUTOSTACK"].data_dir)
    for file in folder.rglob("*"):
        # A development installation's own secrets are in this one, for its owner's eyes.
        if file.is_file() and file.name != "secrets.json":
            assert (file.name, planted.found_in(file.read_text(errors="replace"))) == (file.name, [])


def test_the_search_finds_what_is_there() -> None:
    planted = Planted([VARIABLES["TOKEN"], VARIABLES["QUOTED"], PASSWORD])
    for secret in planted.secrets:
        for text_ in (
            secret,
            json.dumps({"a": secret}),
            repr([secret]),
            f"?a={quote(secret)}",
            *(base64.b64encode(b"x" * shift + secret.encode() + b"yz").decode() for shift in range(6)),
        ):
            assert planted.found_in(f"before {text_} after") == [secret]
