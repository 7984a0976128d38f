"""Changing the keys that secrets are stored under."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from sqlalchemy import String, TextClause, select, text, update

from autostack import keys
from autostack.accounts.models import GitHubConnection, TokenRevocation
from autostack.encryption import Cipher
from autostack.extensions import db
from autostack.projects.models import Project
from tests.conftest import AppMaker
from tests.people import Api, Person, make_person

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
VARIABLES = {"API_KEY": "planted-value-1", "OTHER": "planted-value-2"}


KeyedApp = Callable[..., Flask]


@pytest.fixture
def app_with(make_app: AppMaker) -> KeyedApp:
    """Return the application with these keys."""
    return lambda *keys: make_app(encryption_keys=",".join(keys), repo_hosts_allowed=frozenset({"127.0.0.1"}))


@pytest.fixture
def before(app_with: KeyedApp) -> Flask:
    return app_with(OLD)


@pytest.fixture
def owner(before: Flask, site: str) -> Person:
    """Somebody with a secret in each place that has some."""
    person = make_person(before, "Owner", "owner@example.com")
    api = Api(before, person.token)
    assert api.post("/api/projects", {"name": "Site", "repository": site, "envVars": VARIABLES}).status_code == 201
    assert api.post("/api/deployments", {"repository": "Site"}).status_code == 201
    cipher = Cipher(OLD)
    with before.app_context():
        tokens = {
            "github_access_token": cipher.encrypt("gho_planted"),
            "github_refresh_token": cipher.encrypt("ghr_planted"),
        }
        db.session.add(GitHubConnection(user_id=person.id, github_username="octo", **tokens))
        db.session.add(TokenRevocation(access_token=cipher.encrypt("gho_former")))
        db.session.commit()
    return person


def encrypted_values(app: Flask) -> list[str]:
    """Return whatever looks encrypted in any column of any table."""
    found = []
    with app.app_context():
        for table in db.metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, String):
                    found += db.session.scalars(select(column).where(column.like("gAAAA%"))).all()
    return found


def rotate(app: Flask) -> keys.Rotation:
    with app.app_context():
        return keys.rotate()


def plain(values: list[str], key: str) -> list[Any]:
    return sorted(Cipher(key).decrypt(value) for value in values)


def test_afterwards_the_new_key_alone_reads_everything(before: Flask, owner: Person, app_with: KeyedApp) -> None:
    stored = encrypted_values(before)
    assert len(stored) == 5
    assert rotate(app_with(NEW, OLD)) == keys.Rotation(rotated=5, current=0, unreadable=0)
    assert plain(encrypted_values(before), NEW) == plain(stored, OLD)
    after = app_with(NEW)
    shown = Api(after, owner.token).get("/api/projects").json["projects"]
    assert len(shown) == 1
    with after.app_context():
        [project] = db.session.scalars(select(Project)).all()
        assert json.loads(Cipher(NEW).decrypt(project.env_vars or "")) == VARIABLES


def test_a_second_time_nothing_is_left_to_do(owner: Person, app_with: KeyedApp) -> None:
    app = app_with(NEW, OLD)
    rotate(app)
    assert rotate(app) == keys.Rotation(rotated=0, current=5, unreadable=0)


def test_what_is_written_after_the_new_key_came_is_under_it(owner: Person, app_with: KeyedApp) -> None:
    app = app_with(NEW, OLD)
    api = Api(app, owner.token)
    [project] = api.get("/api/projects").json["projects"]
    assert api.patch(f"/api/projects/{project['id']}", {"envVars": {"A": "b"}}).status_code == 200
    assert rotate(app) == keys.Rotation(rotated=4, current=1, unreadable=0)


def test_what_no_key_reads_is_counted_and_left_and_the_rest_is_done(owner: Person, app_with: KeyedApp) -> None:
    with app_with(OLD).app_context():
        lost = Cipher(OTHER).encrypt("gho_lost")
        db.session.execute(update(GitHubConnection).values(github_access_token=lost))
        db.session.commit()
    app = app_with(NEW, OLD)
    assert rotate(app) == keys.Rotation(rotated=4, current=0, unreadable=1)
    assert lost in encrypted_values(app)


def test_an_owner_does_not_see_that_keys_changed(before: Flask, owner: Person, app_with: KeyedApp) -> None:
    moments = text("SELECT updated_at FROM projects")
    with before.app_context():
        former = db.session.scalar(moments)
    rotate(app_with(NEW, OLD))
    with before.app_context():
        assert db.session.scalar(moments) == former


def test_what_an_owner_writes_meanwhile_stays(before: Flask, owner: Person, app_with: KeyedApp) -> None:
    newer = Cipher(NEW).encrypt_mapping({"NEWER": "value"})
    outcomes: list[keys.Rotation] = []
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    app = app_with(NEW, OLD)
    with before.app_context():
        db.session.execute(update(Project).values(env_vars=newer))
        rotating = threading.Thread(target=lambda: outcomes.append(rotate(app)))
        rotating.start()
        deadline = time.monotonic() + 60
        while not _scalar(waiting):
            assert time.monotonic() < deadline
        db.session.commit()
        rotating.join()
        assert db.session.scalars(select(Project.env_vars)).all() == [newer]
    assert outcomes == [keys.Rotation(rotated=4, current=1, unreadable=0)]


def run_rotate(app: Flask, *keys: str) -> subprocess.CompletedProcess[str]:
    """Run `autostack keys rotate` as an operator does."""
    known = app.config["AUTOSTACK"]
    services = {"DATABASE_URL": known.database_url, "REDIS_URL": known.redis_url}
    env = {**os.environ, **{name: value.get_secret_value() for name, value in services.items()}}
    command = [str(Path(sys.executable).with_name("autostack")), "keys", "--data-dir", str(known.data_dir), "rotate"]
    return subprocess.run(
        command, env={**env, "ENCRYPTION_KEYS": ",".join(keys)}, capture_output=True, text=True, timeout=150
    )


def test_the_command_says_what_it_did_and_whether_the_old_key_can_go(before: Flask, owner: Person) -> None:
    ran = run_rotate(before, NEW, OLD)
    assert (ran.returncode, ran.stdout) == (0, "5 encrypted anew, 0 under the first key already.\n")
    ran = run_rotate(before, NEW)
    assert (ran.returncode, ran.stdout) == (0, "0 encrypted anew, 5 under the first key already.\n")
    ran = run_rotate(before, OTHER)
    assert ran.returncode == 1
    assert "autostack: 5 can be read with none of ENCRYPTION_KEYS." in ran.stderr
    ran = run_rotate(before, "no key")
    assert ran.returncode == 1
    assert "ENCRYPTION_KEYS must be Fernet keys" in ran.stderr


def _scalar(query: TextClause) -> Any:
    # A transaction of its own: within one, PostgreSQL's statistics stand still.
    with db.engine.connect() as connection:
        return connection.scalar(query)
