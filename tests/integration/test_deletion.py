"""What is deleted is gone for everybody at once, however much of it there is; its rows leave in batches."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from rq import Queue
from sqlalchemy import delete, event, func, select, text, update
from sqlalchemy.orm import aliased

from autostack.builds import sweep
from autostack.builds.models import BuildAttempt
from autostack.deployments.models import Deployment, DeploymentDraft, DeploymentLog
from autostack.extensions import db, redis, rowcount
from autostack.projects import deleted
from autostack.projects import service as projects
from autostack.projects.models import Project, SiteHost
from tests.builders import build, publish
from tests.jobs import work_off
from tests.people import PASSWORD, Api, Browser, Person

EMPTY = {"projects": 0, "deployments": 0, "deployment_logs": 0, "build_attempts": 0, "deployment_stages": 0}


def deploy(app: Flask, api: Api, project: dict[str, Any]) -> str:
    """Have a deployment of a project go live; return its id."""
    id: str = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, id, {"/index.html": b"<h1>hi</h1>"})
    publish(app, id)
    return id


def say_much(app: Flask, deployment_id: str, lines: int) -> None:
    """Give a deployment a long log."""
    many = """
        INSERT INTO deployment_logs (deployment_id, seq, message)
        SELECT :id, 1000 + number, 'a line' FROM generate_series(1, :lines) number
    """
    with app.app_context():
        db.session.execute(text(many), {"id": deployment_id, "lines": lines})
        db.session.commit()


def stored(app: Flask) -> dict[str, int]:
    """Return how many rows PostgreSQL has, whoever finds them."""
    with app.app_context():
        return {table: db.session.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in EMPTY}


@contextmanager
def deletions_of_lines(app: Flask) -> Iterator[list[int]]:
    """Collect how many log lines each statement deletes."""
    counts: list[int] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM deployment_logs"):
            counts.append(cursor.rowcount)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "after_cursor_execute", note)
    try:
        yield counts
    finally:
        event.remove(engine, "after_cursor_execute", note)


def test_the_rows_of_a_project_leave_in_batches(app: Flask, api: Api, project: dict[str, Any]) -> None:
    say_much(app, deploy(app, api, project), 2 * deleted.LINES + 1)
    with deletions_of_lines(app) as counts:
        assert api.delete(f"/api/projects/{project['id']}").status_code == 204
        assert counts == []
        work_off(app)
    assert (len(counts), max(counts)) == (3, deleted.LINES)
    assert stored(app) == EMPTY


def test_a_project_whose_rows_somebody_takes_away_is_left_to_them(
    app: Flask, api: Api, project: dict[str, Any]
) -> None:
    deploy(app, api, project)
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    with app.app_context():
        with db.engine.begin() as other:
            other.execute(text("SELECT 1 FROM projects FOR UPDATE"))
            assert deleted.remove_some()
            assert stored(app)["deployments"] == 1
        assert deleted.remove_some()
    assert stored(app) == EMPTY


def test_lines_are_found_without_a_join_though_postgresql_believes_there_are_none(
    app: Flask, api: Api, project: dict[str, Any]
) -> None:
    id = deploy(app, api, project)
    with app.app_context():
        db.session.execute(text("ANALYZE deployment_logs"))
        db.session.commit()
    say_much(app, id, deleted.LINES)
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("DELETE FROM deployment_logs"):
            plans.extend(line for (line,) in cursor.execute(f"EXPLAIN {statement}", parameters))

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", explain)
    try:
        assert api.delete(f"/api/projects/{project['id']}").status_code == 204
        work_off(app)
    finally:
        event.remove(engine, "before_cursor_execute", explain)
    assert any("Delete on deployment_logs" in line for line in plans)
    assert not [line for line in plans if "Join" in line or "Nested Loop" in line]


def test_a_job_leaves_what_is_too_much_for_it_to_the_next(
    app: Flask, api: Api, project: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(app, api, project)
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    monkeypatch.setattr(deleted, "BATCHES", 1)
    assert work_off(app).count("remove_deleted") == 3
    assert stored(app) == EMPTY


def test_whoever_tells_of_more_asks_for_no_second_job(app: Flask, api: Api, project: dict[str, Any], site: str) -> None:
    other = api.post("/api/projects", {"name": "Other", "repository": site}).json
    for one in (project, other):
        assert api.delete(f"/api/projects/{one['id']}").status_code == 204
    done = work_off(app)
    assert (done.count("remove_deleted"), done.count("remove_planned")) == (1, 1)
    assert stored(app) == EMPTY


def test_an_account_goes_once_the_rows_of_its_projects_have(
    app: Flask, api: Api, project: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(app, api, project)
    monkeypatch.setattr(deleted, "BATCHES", 1)
    assert api.delete("/api/user/account", {"password": PASSWORD}).status_code == 204
    work_off(app)
    assert stored(app) == EMPTY
    with app.app_context():
        assert db.session.scalar(text("SELECT count(*) FROM users")) == 0


def test_a_deleted_project_is_nowhere_though_its_rows_are_there(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    id = deploy(app, api, project)
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    assert stored(app)["deployments"] == 1
    gone = (f"/projects/{project['id']}", f"/projects/{project['id']}/settings", f"/deployments/{id}")
    for path in (*gone, *(f"/api{path.removesuffix('/settings')}" for path in gone), f"/api/deployments/{id}/logs"):
        assert (browser if not path.startswith("/api") else api).get(path).status_code == 404, path
    for path in ("/projects", "/deployments", "/dashboard", "/search?q=site", "/deploy", "/deployments?status=success"):
        page = browser.get(path).text
        assert id not in page, path
        assert project["id"] not in page, path
    assert api.get("/api/projects").json["projects"] == []
    assert api.get("/api/deployments").json["deployments"] == []
    stats = api.get("/api/dashboard/stats").json["stats"]
    assert (stats["totalDeployments"], stats["activeProjects"], stats["successRate"]) == (0, 0, None)


def test_who_deleted_the_last_project_has_none(app: Flask, api: Api, alice: Person, project: dict[str, Any]) -> None:
    with app.app_context():
        assert projects.has_projects(alice.id)
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    with app.app_context():
        assert not projects.has_projects(alice.id)
        assert deleted.is_left_of(alice.id), "its rows are there still"


def test_its_name_its_host_and_its_repository_are_free_at_once(
    app: Flask, api: Api, project: dict[str, Any], site: str
) -> None:
    deploy(app, api, project)
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    again = api.post("/api/projects", {"name": project["name"], "repository": site})
    assert (again.status_code, again.json["url"]) == (201, project["url"])
    id = deploy(app, api, again.json)
    work_off(app)
    assert stored(app)["projects"] == stored(app)["deployments"] == 1
    with app.app_context():
        host = db.session.scalars(select(SiteHost).where(SiteHost.kind == "production")).one()
        assert (str(host.deployment_id), host.previous_deployment_id) == (id, None)


def test_no_query_finds_what_was_deleted(app: Flask, api: Api, project: dict[str, Any]) -> None:
    """However a query names them: so nobody who writes one need think of it."""
    id = uuid.UUID(deploy(app, api, project))
    with app.app_context():
        draft = {"user_id": db.session.scalar(select(Project.user_id)), "repository": "", "default_branch": ""}
        db.session.add(DeploymentDraft(project_id=uuid.UUID(project["id"]), branches=[], **draft))
        db.session.commit()
        attempt_id = db.session.scalars(select(BuildAttempt.id)).one()
        assert api.delete(f"/api/projects/{project['id']}").status_code == 204
        for model in (Project, Deployment, BuildAttempt, DeploymentDraft):
            other = aliased(model)
            assert db.session.scalars(select(model)).all() == []
            assert db.session.scalars(select(other)).all() == []
            assert db.session.scalar(select(func.count()).select_from(model)) == 0
            assert db.session.scalar(select(1).where(select(model.id).exists())) is None
            assert rowcount(db.session.execute(update(model).values(id=model.id))) == 0
            assert rowcount(db.session.execute(delete(model))) == 0
        joined = select(DeploymentLog.id).join(Deployment, Deployment.id == DeploymentLog.deployment_id)
        assert db.session.scalars(joined).all() == []
        db.session.expunge_all()
        assert db.session.get(Deployment, id) is None
        assert db.session.get(BuildAttempt, attempt_id) is None
        db.session.rollback()
    assert stored(app)["deployments"] == 1


def test_a_deployment_deleted_by_itself_goes_the_same_way(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    first, second = deploy(app, api, project), deploy(app, api, project)
    say_much(app, first, deleted.LINES + 1)
    with deletions_of_lines(app) as counts:
        assert api.delete(f"/api/deployments/{first}").status_code == 204
        assert counts == []
        assert stored(app)["deployments"] == 2
        assert api.get(f"/api/deployments/{first}").status_code == 404
        assert first not in browser.get(f"/projects/{project['id']}/deployments").text
        assert [one["id"] for one in api.get("/api/projects").json["projects"]] == [project["id"]]
        with app.app_context():
            forgotten = select(func.count()).where(SiteHost.previous_deployment_id == uuid.UUID(first))
            assert db.session.scalar(forgotten) == 0
        work_off(app)
    assert max(counts) == deleted.LINES
    assert stored(app)["projects"] == stored(app)["deployments"] == 1
    assert api.get(f"/api/deployments/{second}").status_code == 200


def test_the_sweep_tells_of_rows_that_the_queue_forgot(app: Flask, api: Api, project: dict[str, Any]) -> None:
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    with app.app_context():
        redis().flushall()
        sweep.remove_left_over()
        # The worker that was told just now may be at it.
        assert Queue("control", connection=redis()).job_ids == []
        db.session.execute(text("UPDATE projects SET deleted_at = now() - interval '1 minute'"))
        db.session.commit()
        sweep.remove_left_over()
    assert work_off(app) == ["remove_deleted"]
    assert stored(app) == EMPTY


def test_nothing_can_be_done_with_what_was_deleted(app: Flask, api: Api, project: dict[str, Any]) -> None:
    id = deploy(app, api, project)
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    of_project, of_deployment = f"/api/projects/{project['id']}", f"/api/deployments/{id}"
    assert api.delete(of_project).status_code == 404
    assert api.patch(of_project, {"name": "Other"}).status_code == 404
    assert api.delete(of_deployment).status_code == 404
    assert api.post(f"{of_deployment}/redeploy").status_code == 404
    assert api.post(f"{of_deployment}/promote").status_code == 404
