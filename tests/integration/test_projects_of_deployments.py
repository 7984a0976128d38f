"""Which project a deployment's `repository` names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from autostack.accounts.models import User
from autostack.errors import Invalid
from autostack.extensions import db
from autostack.projects import service
from tests.people import Api, Person


def find(app: Flask, person: Person, reference: str, **options: Any) -> str:
    with app.test_request_context():
        user = db.session.get_one(User, person.id)
        return service.find_or_create_for(user, reference, **options).name


def test_another_spelling_of_the_url_finds_it(app: Flask, alice: Person, project: object, site: str) -> None:
    assert find(app, alice, site.removesuffix(".git") + "/") == "Site"


def test_its_name_finds_it(app: Flask, alice: Person, project: object) -> None:
    assert find(app, alice, "Site") == "Site"


def test_another_root_folder_is_another_project(app: Flask, alice: Person, project: object, site: str) -> None:
    assert find(app, alice, site, root_dir="apps/web") == "site"
    assert find(app, alice, site, root_dir="apps/web") == "site"
    assert find(app, alice, site) == "Site"


def test_a_strangers_project_is_not_found(app: Flask, charlie: Person, project: object, site: str) -> None:
    assert find(app, charlie, site) == "site"
    with pytest.raises(Invalid) as refused:
        find(app, charlie, "Site")
    assert set(refused.value.details) == {"repository"}


def test_what_is_given_changes_the_project(app: Flask, alice: Person, api: Api, project: dict[str, Any]) -> None:
    find(app, alice, "Site", changes={"build_command": "make", "env_vars": {"A": "1"}})
    changed = api.get(f"/api/projects/{project['id']}").json
    assert (changed["buildCommand"], changed["envVars"][0]["key"]) == ("make", "A")


def test_a_new_repository_that_is_asked_for_twice_at_once_is_one_project(api: Api, site: str) -> None:
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: api.post("/api/deployments", {"repository": site}), range(3)))
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json["projectId"] for answer in answers}) == 1


def test_a_snapshot_has_the_settings_as_they_stand(app: Flask, alice: Person, project: object, site: str) -> None:
    with app.test_request_context():
        user = db.session.get_one(User, alice.id)
        snapshot = service.build_settings(service.find_or_create_for(user, "Site"))
    assert snapshot == {
        "repository": site,
        "branch": "main",
        "rootDir": None,
        "installCommand": None,
        "buildCommand": None,
        "outputDir": None,
        "nodeVersion": None,
        "fallback": "auto",
    }
