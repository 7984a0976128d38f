"""Projects over the JSON API, with real Git repositories over HTTP."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from autostack.builds.models import BuildAttempt
from autostack.deployments.models import Deployment
from autostack.encryption import Cipher
from autostack.extensions import db, settings
from autostack.projects import service
from autostack.projects.models import Project, SiteHost
from tests.conftest import AppMaker
from tests.git_server import GitServer, make_repository
from tests.people import Api, Person

NOWHERE = "00000000-0000-0000-0000-000000000000"


def hosts(app: Flask) -> list[SiteHost]:
    with app.app_context():
        return list(db.session.scalars(select(SiteHost).order_by(SiteHost.label)))


def test_a_project_is_made_of_a_repository_that_was_reached(app: Flask, api: Api, site: str) -> None:
    answered = api.post("/api/projects", {"name": "My Site", "repository": site})
    assert answered.status_code == 201
    assert answered.headers["Location"] == f"/api/projects/{answered.json['id']}"
    assert api.get(answered.headers["Location"]).json == answered.json
    shown = {name: value for name, value in answered.json.items() if name not in {"id", "createdAt", "updatedAt"}}
    assert shown == {
        "name": "My Site",
        "repository": site,
        "branch": "main",
        "url": "http://my-site.localhost:8080",
        "rootDir": None,
        "installCommand": None,
        "buildCommand": None,
        "outputDir": None,
        "nodeVersion": None,
        "fallback": "auto",
        "envVars": [],
        "autoPromote": True,
        "keepDeployments": None,
        "keepDays": None,
    }
    assert [(host.label, host.kind, host.deployment_id) for host in hosts(app)] == [("my-site", "production", None)]


def test_a_project_without_a_name_is_called_as_its_repository(api: Api, site: str) -> None:
    names = [api.post("/api/projects", {"repository": site, "rootDir": root}).json["name"] for root in ("", "", "a/b")]
    assert names == ["site", "site-2", "site-a-b"]


def test_all_build_settings_are_kept(api: Api, site: str) -> None:
    wanted = {
        "name": "All",
        "repository": site,
        "branch": "next",
        "rootDir": "./apps/web/",
        "installCommand": "npm ci",
        "buildCommand": "",
        "outputDir": "build",
        "nodeVersion": "20",
        "fallback": "none",
    }
    project = api.post("/api/projects", wanted).json
    assert {name: project[name] for name in wanted} == {**wanted, "rootDir": "apps/web"}


def test_the_database_holds_no_fallback_that_the_proxy_does_not_know(app: Flask, project: dict[str, Any]) -> None:
    with app.app_context(), pytest.raises(IntegrityError, match="ck_projects_fallback"):
        db.session.execute(update(Project).values(fallback="always"))


def test_the_list_shows_the_callers_projects_with_few_fields(
    api: Api, strangers_api: Api, project: dict[str, Any]
) -> None:
    listed = api.get("/api/projects").json
    assert listed["pagination"] == {"currentPage": 1, "totalPages": 1, "totalItems": len(listed["projects"])}
    assert [set(row) for row in listed["projects"]] == [{"id", "name", "repository", "branch", "url", "createdAt"}]
    assert strangers_api.get("/api/projects").json["projects"] == []


def test_the_list_has_pages_and_is_searched(api: Api, site: str) -> None:
    for name in ("first", "second", "third"):
        api.post("/api/projects", {"name": name, "repository": site})

    def named(query: str) -> tuple[list[str], int]:
        answered = api.get(f"/api/projects?{query}").json
        return [row["name"] for row in answered["projects"]], answered["pagination"]["totalItems"]

    assert named("limit=2") == (["third", "second"], 3)
    assert named("limit=2&page=2") == (["first"], 3)
    assert named("search=SEC") == (["second"], 1)
    assert api.get("/api/projects?limit=101").status_code == 422


def test_variables_are_encrypted_and_never_sent_back(app: Flask, api: Api, site: str) -> None:
    text = "NODE_ENV=production\nAPI_KEY=sk-live-0123456789"
    answered = api.post("/api/projects", {"name": "Env", "repository": site, "envVars": text})
    assert answered.json["envVars"] == [
        {"key": "API_KEY", "preview": "sk••••••"},
        {"key": "NODE_ENV", "preview": "••••••"},
    ]
    with app.app_context():
        stored = db.session.scalars(select(Project)).one()
        assert "sk-live" not in (stored.env_vars or "")
        assert service.variables_of(stored) == {"NODE_ENV": "production", "API_KEY": "sk-live-0123456789"}


def test_values_keep_their_white_space(app: Flask, api: Api, site: str) -> None:
    api.post("/api/projects", {"name": "Env", "repository": site, "envVars": {"KEY": "  line\nline\n"}})
    with app.app_context():
        stored = db.session.scalars(select(Project)).one()
        assert Cipher.of(settings()).decrypt_mapping(stored.env_vars) == {"KEY": "  line\nline\n"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", "-flag"),
        ("name", "a/b"),
        ("name", "a\nb"),
        ("repository", ""),
        ("repository", "x" * 256),
        ("repository", None),
        ("branch", ""),
        ("branch", "x" * 101),
        ("rootDir", "/etc"),
        ("rootDir", "../other"),
        ("rootDir", "a/../../b"),
        ("rootDir", "a\\b"),
        ("rootDir", "x" * 256),
        ("outputDir", "/dist"),
        ("outputDir", "dist/.."),
        ("installCommand", "npm ci\nrm -rf /"),
        ("installCommand", "x" * 2001),
        ("buildCommand", "a\x1bb"),
        ("nodeVersion", "latest; rm"),
        ("nodeVersion", "x" * 21),
        ("fallback", "always"),
        ("fallback", ""),
        ("fallback", None),
        ("envVars", {"1": "x"}),
        ("envVars", "no equals sign"),
        ("envVars", {f"A{number}": "" for number in range(101)}),
        ("envVars", {"A": "x" * 64_001}),
        ("envVars", 1),
    ],
)
def test_a_wrong_field_is_named(api: Api, site: str, field: str, value: object) -> None:
    answered = api.post("/api/projects", {"name": "Site", "repository": site, field: value})
    assert answered.status_code == 422, answered.text
    assert answered.json["error"]["code"] == "VALIDATION_ERROR"
    assert {name.partition(".")[0] for name in answered.json["error"]["details"]} == {field}


@pytest.mark.parametrize(
    "branch", ["a;id", "`id`", "$(id)", "-x", "--upload-pack=x", "a..b", "a b", "x.lock", "/a", "a~1", "@{u}", "@"]
)
def test_a_branch_name_that_git_or_a_shell_would_stumble_over_is_refused(
    api: Api, git_server: GitServer, site: str, branch: str
) -> None:
    before = len(git_server.requests)
    answered = api.post("/api/projects", {"name": "Site", "repository": site, "branch": branch})
    assert answered.status_code == 422
    assert set(answered.json["error"]["details"]) == {"branch"}
    assert len(git_server.requests) == before


@pytest.mark.parametrize(
    "repository",
    ["ext::sh -c id", "file:///etc", "--upload-pack=id", "https://u:p@127.0.0.1/a", "just-a-name", "ssh://127.0.0.1/a"],
)
def test_an_address_that_is_none_is_refused_by_its_field(api: Api, repository: str) -> None:
    answered = api.post("/api/projects", {"name": "Site", "repository": repository})
    assert answered.status_code == 422
    assert set(answered.json["error"]["details"]) == {"repository"}


def test_what_cannot_be_built_is_refused_with_its_reason(api: Api, git_server: GitServer, site: str) -> None:
    def refused(**body: str) -> tuple[int, str, str]:
        answered = api.post("/api/projects", {"name": "Site", **body})
        ((field, problem),) = answered.json["error"]["details"].items()
        return answered.status_code, field, problem

    status, field, problem = refused(repository=site, branch="missing")
    assert (status, field, "missing" in problem) == (422, "branch", True)
    status, field, problem = refused(repository=git_server.url("empty.git"))
    assert (status, field, "empty" in problem) == (422, "repository", True)
    assert refused(repository=git_server.url("nothing.git"))[:2] == (422, "repository")
    assert refused(repository="http://127.0.0.1:9/site.git")[:2] == (422, "repository")


def test_a_private_address_is_refused_unless_the_operator_allowed_it(
    make_app: AppMaker, alice: Person, site: str
) -> None:
    strict = Api(make_app(), alice.token)
    for url in (site, "https://127.0.0.1/a", "https://localhost/a", "https://169.254.169.254/a", "https://[::1]/a"):
        answered = strict.post("/api/projects", {"name": "Site", "repository": url})
        assert (answered.status_code, list(answered.json["error"]["details"])) == (422, ["repository"]), url


def test_the_example_of_this_machine_may_be_cloned(make_app: AppMaker, alice: Person, tmp_path: Path) -> None:
    make_repository(tmp_path / "hello.git", {"index.html": "hello"})
    make_repository(tmp_path / "other.git", {"index.html": "other"})
    api = Api(make_app(example_repository=f"file://{tmp_path}/hello.git"), alice.token)
    assert api.post("/api/projects", {"repository": f"file://{tmp_path}/hello.git"}).json["name"] == "hello"
    assert api.post("/api/projects", {"repository": f"file://{tmp_path}/other.git"}).status_code == 422


def test_a_users_names_are_unique_and_other_users_are_free_to_use_them(
    api: Api, strangers_api: Api, project: dict[str, Any], site: str
) -> None:
    again = api.post("/api/projects", {"name": "Site", "repository": site})
    assert (again.status_code, again.json["error"]["code"]) == (409, "PROJECT_NAME_TAKEN")
    theirs = strangers_api.post("/api/projects", {"name": "Site", "repository": site})
    assert theirs.status_code == 201
    assert theirs.json["url"] != project["url"]


def test_one_name_asked_for_many_times_at_once_is_given_once(app: Flask, alice: Person, site: str) -> None:
    statuses: list[int] = []

    def make() -> None:
        body = {"name": "Race", "repository": site}
        statuses.append(Api(app, alice.token).post("/api/projects", body).status_code)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 409, 409, 409]
    assert [host.label for host in hosts(app)] == ["race"]


def test_a_change_touches_what_was_given_only(api: Api, site: str) -> None:
    body = {"name": "Site", "repository": site, "buildCommand": "make", "envVars": {"A": "1", "B": "2"}}
    path = f"/api/projects/{api.post('/api/projects', body).json['id']}"
    changed = api.patch(path, {"name": "New name", "outputDir": "out"}).json
    assert (changed["name"], changed["outputDir"], changed["buildCommand"]) == ("New name", "out", "make")
    assert [row["key"] for row in changed["envVars"]] == ["A", "B"]
    changed = api.patch(path, {"buildCommand": None, "envVars": {"C": "3"}}).json
    assert changed["buildCommand"] is None
    assert [row["key"] for row in changed["envVars"]] == ["C"]
    assert api.patch(path, {"envVars": None}).json["envVars"] == []


def test_a_new_repository_or_branch_is_reached_first(
    api: Api, git_server: GitServer, project: dict[str, Any], site: str
) -> None:
    path = f"/api/projects/{project['id']}"
    assert api.patch(path, {"branch": "next"}).json["branch"] == "next"
    missing = api.patch(path, {"branch": "missing"})
    assert (missing.status_code, list(missing.json["error"]["details"])) == (422, ["branch"])
    elsewhere = api.patch(path, {"repository": git_server.url("other.git")})
    assert (elsewhere.status_code, list(elsewhere.json["error"]["details"])) == (422, ["branch"])
    moved = api.patch(path, {"repository": git_server.url("other.git"), "branch": None}).json
    assert (moved["repository"], moved["branch"]) == (git_server.url("other.git"), "main")
    before = len(git_server.requests)
    assert api.patch(path, {"name": "Renamed"}).status_code == 200
    assert len(git_server.requests) == before


def test_a_name_that_is_taken_is_refused_to_a_change_too(api: Api, project: dict[str, Any], site: str) -> None:
    other = api.post("/api/projects", {"name": "Other", "repository": site}).json
    answered = api.patch(f"/api/projects/{other['id']}", {"name": "Site"})
    assert (answered.status_code, answered.json["error"]["code"]) == (409, "PROJECT_NAME_TAKEN")


def test_a_wrong_change_changes_nothing(api: Api, project: dict[str, Any]) -> None:
    path = f"/api/projects/{project['id']}"
    for wrong in ({"name": None}, {"repository": None}, {"rootDir": ".."}, {"branch": "a;b"}):
        assert api.patch(path, {"buildCommand": "new", **wrong}).status_code == 422
    assert api.get(path).json == project


@pytest.mark.parametrize("change", [{"name": "New"}, {"branch": "next"}])
def test_a_project_deleted_while_it_is_changed_is_not_found(
    app: Flask, project: object, change: dict[str, str]
) -> None:
    with app.test_request_context():
        held = db.session.scalars(select(Project)).one()
        with db.engine.begin() as another:
            another.execute(delete(Project))
        with pytest.raises(service.ProjectNotFound):
            service.update_project(held, change)


def test_nobody_and_strangers_reach_nothing(
    api: Api, strangers_api: Api, nobodys_api: Api, project: dict[str, Any]
) -> None:
    path = f"/api/projects/{project['id']}"
    for who, status in ((nobodys_api, 401), (strangers_api, 404)):
        answers = [who.get(path), who.patch(path, {"name": "Mine"}), who.delete(path), who.post(f"{path}/resume")]
        assert {answer.status_code for answer in answers} == {status}
    assert nobodys_api.get("/api/projects").status_code == 401
    assert nobodys_api.post("/api/projects", {}).status_code == 401
    assert api.get(path).json == project


def test_a_project_that_is_not_there_is_not_found(api: Api) -> None:
    answered = api.get(f"/api/projects/{NOWHERE}")
    assert (answered.status_code, answered.json["error"]["code"]) == (404, "PROJECT_NOT_FOUND")
    assert api.get("/api/projects/no-uuid").status_code == 404
    assert api.delete(f"/api/projects/{NOWHERE}").status_code == 404


def test_other_methods_are_not_allowed(api: Api, project: dict[str, Any]) -> None:
    assert api.delete("/api/projects").status_code == 405
    assert api.post(f"/api/projects/{project['id']}").status_code == 405
    assert api.get(f"/api/projects/{project['id']}/resume").status_code == 405


def test_resuming_lets_deployments_go_live_again(app: Flask, api: Api, project: dict[str, Any]) -> None:
    with app.app_context():
        db.session.execute(update(Project).values(auto_promote=False))
        db.session.commit()
    assert api.get(f"/api/projects/{project['id']}").json["autoPromote"] is False
    assert api.post(f"/api/projects/{project['id']}/resume").json["autoPromote"] is True


def test_deleting_leaves_a_tombstone_of_the_host_and_nothing_else(
    app: Flask, api: Api, alice: Person, project: dict[str, Any]
) -> None:
    with app.app_context():
        deployment = Deployment(project_id=uuid.UUID(project["id"]), user_id=alice.id, label="site-0a0b0c0d")
        db.session.add(deployment)
        db.session.flush()
        attempt = BuildAttempt(deployment_id=deployment.id, number=1, executor="local", bootstrap_token_hash="x")
        db.session.add(attempt)
        db.session.execute(update(SiteHost).values(deployment_id=deployment.id, generation=7))
        db.session.commit()
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    assert api.delete(f"/api/projects/{project['id']}").status_code == 404
    (tombstone,) = hosts(app)
    assert (tombstone.project_id, tombstone.deployment_id, tombstone.generation) == (None, None, 8)
    with app.app_context():
        assert db.session.scalars(select(Deployment)).all() == []
        assert db.session.scalars(select(BuildAttempt)).all() == []


def test_a_freed_host_is_given_again_and_its_generations_go_on(
    app: Flask, api: Api, strangers_api: Api, project: dict[str, Any], site: str
) -> None:
    api.delete(f"/api/projects/{project['id']}")
    (tombstone,) = hosts(app)
    theirs = strangers_api.post("/api/projects", {"name": "Site", "repository": site}).json
    assert theirs["url"] == project["url"]
    (host,) = hosts(app)
    assert str(host.project_id) == theirs["id"]
    assert host.generation > tombstone.generation


def test_a_host_that_another_took_meanwhile_is_not_shared(app: Flask, api: Api, site: str) -> None:
    first = api.post("/api/projects", {"name": "Site", "repository": site}).json
    with app.app_context():
        db.session.execute(insert(SiteHost).values(label="free", project_id=uuid.UUID(first["id"]), kind="branch"))
        db.session.commit()
    second = api.post("/api/projects", {"name": "Free", "repository": site}).json
    assert second["url"] != "http://free.localhost:8080"
