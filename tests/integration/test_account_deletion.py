"""Deleting an account: closed at once, on a page and through the API; a job removes it with all that is its."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from autostack.accounts import jobs
from autostack.accounts.models import User
from autostack.admin import service as admin
from autostack.builds import sweep
from autostack.extensions import db, redis, store
from autostack.projects.models import Project, SiteHost
from autostack.queue import CONTROL, waiting
from tests.builders import build, publish
from tests.faults.watching import wait_for
from tests.jobs import work_off
from tests.oauth import set_user
from tests.people import PASSWORD, Api, Browser, Person

JOB = "delete_closed_accounts"


def delete(api: Api) -> None:
    assert api.delete("/api/user/account", {"password": PASSWORD}).status_code == 204


def addresses(app: Flask) -> set[str]:
    """Return the addresses that accounts hold."""
    with app.app_context():
        return set(db.session.scalars(select(User.email)))


@pytest.fixture
def live(app: Flask, api: Api, project: dict[str, Any]) -> dict[str, Any]:
    """Alice's project, with a deployment that is live."""
    deployment = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, deployment, {"/index.html": b"hi"})
    publish(app, deployment)
    return project


def test_everything_that_was_the_accounts_goes_with_it(
    app: Flask, api: Api, browser: Browser, alice: Person, live: dict[str, Any], strangers_api: Api
) -> None:
    strangers = strangers_api.post("/api/projects", {"name": "Site", "repository": live["repository"]})
    assert api.delete("/api/user/account", {"password": "wrong password"}).status_code == 422
    delete(api)

    assert api.get("/api/user/profile").status_code == 401
    assert browser.get("/projects").status_code == 302
    assert Api(app).post("/api/auth/login", {"email": alice.email, "password": PASSWORD}).status_code == 401
    work_off(app)
    assert addresses(app) == {"charlie@example.com"}
    with app.app_context():
        assert list(store().names(f"projects/{live['id']}")) == []
    assert strangers_api.get(f"/api/projects/{strangers.json['id']}").status_code == 200


def test_its_address_is_free_again_afterwards(app: Flask, api: Api, alice: Person, nobodys_api: Api) -> None:
    delete(api)
    again = {"name": "Alice", "email": alice.email, "password": PASSWORD}
    assert nobodys_api.post("/api/auth/signup", again).status_code == 409
    work_off(app)
    assert nobodys_api.post("/api/auth/signup", again).status_code == 201


def test_the_page_deletes_with_the_password_only(app: Flask, browser: Browser, alice: Person) -> None:
    refused = browser.post("/settings/account/delete", {"password": "no"})
    assert (refused.status_code, "The password is wrong." in refused.text) == (422, True)
    assert browser.post("/settings/account/delete", {"password": alice.password}).status_code == 303
    assert "Your account is closed" in browser.get("/login").text
    assert browser.get("/projects").status_code == 302
    work_off(app)
    assert addresses(app) == set()


def test_the_sweep_tells_of_an_account_that_the_queue_forgot(app: Flask, api: Api, live: dict[str, Any]) -> None:
    delete(api)
    with app.app_context():
        redis().flushall()
        sweep.delete_closed_accounts()
        # The worker that was told just now may be at it.
        assert JOB not in (waiting(CONTROL) or ())
        db.session.execute(text("UPDATE users SET deletion_asked_at = now() - interval '1 minute'"))
        db.session.commit()
        sweep.delete_closed_accounts()
    work_off(app)
    assert addresses(app) == set()


def test_a_project_that_a_request_makes_meanwhile_goes_too(
    app: Flask, api: Api, alice: Person, project: dict[str, Any]
) -> None:
    # The request began before the account was closed, and ends after its projects were looked for.
    delete(api)
    with app.app_context(), db.engine.connect() as late, ThreadPoolExecutor(1) as pool:
        made = {"id": uuid.uuid4(), "name": "late", "label": "late"}
        former = late.execute(select(Project.__table__)).one()._asdict()
        late.execute(Project.__table__.insert().values({**former, **made}))
        late.execute(SiteHost.__table__.insert().values(label="late", project_id=made["id"], kind="production"))
        working = pool.submit(work_off, app)
        wait_for(lambda: late.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
        late.commit()
        assert JOB in working.result(120)
    assert addresses(app) == set()
    with app.app_context():
        assert db.session.scalars(select(Project.id)).all() == []
        # Not by the account's cascade, which would leave its host leading to its files.
        host = db.session.scalars(select(SiteHost).where(SiteHost.label == "late")).one()
        assert (host.project_id, host.generation) == (None, 1)


def test_an_account_whose_project_somebody_holds_keeps_no_other_back(
    app: Flask, api: Api, project: dict[str, Any], strangers_api: Api, charlie: Person, alice: Person
) -> None:
    delete(api)
    delete(strangers_api)
    with app.app_context(), db.engine.begin() as holder:
        db.session.execute(text("SET lock_timeout = '100ms'"))
        holder.execute(select(Project.id).with_for_update())
        jobs.delete_closed_accounts()
        db.session.execute(text("RESET lock_timeout"))
        db.session.commit()
    assert addresses(app) == {alice.email}
    work_off(app)
    assert addresses(app) == set()


def test_nobody_lets_its_owner_in_again(app: Flask, api: Api, alice: Person, charlie: Person) -> None:
    set_user(app, charlie.email, is_superuser=True)
    delete(api)
    refused = Api(app, charlie.token).post(f"/api/admin/users/{alice.id}/reactivate")
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "ACCOUNT_BEING_DELETED")
    admins = Browser(app).sign_in(charlie)
    assert "Being deleted" in admins.get("/admin/users").text
    assert "Reactivate" not in admins.get("/admin/users").text
    assert admins.post(f"/admin/users/{alice.id}/reactivate").status_code == 303
    assert "is being deleted" in admins.get("/admin/users").text
    with app.app_context():
        assert [user.email for user in admin.everyone() if user.is_active] == [charlie.email]
