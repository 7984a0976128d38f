"""Admins see every user and deployment, and suspend users; nobody else does."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from autostack.admin import service
from autostack.extensions import db
from tests.people import Api, Browser, make_person

SCRIPT = str(Path(sys.executable).with_name("autostack"))


def appoint(app, person):
    with app.app_context():
        service.appoint(person.email, is_superuser=True)
    return person


@pytest.fixture
def root(app):
    """An admin."""
    return appoint(app, make_person(app, "Root", "root@example.com"))


@pytest.fixture
def admins_api(app, root):
    return Api(app, root.token)


@pytest.fixture
def admins_browser(app, root):
    return Browser(app).sign_in(root)


@pytest.fixture
def command(app):
    """Run `autostack users …` as an operator does."""

    def run(*arguments):
        known = app.config["AUTOSTACK"]
        services = {"DATABASE_URL": known.database_url, "REDIS_URL": known.redis_url}
        env = {**os.environ, **{name: value.get_secret_value() for name, value in services.items()}}
        asked = [SCRIPT, "users", "--data-dir", str(known.data_dir), *arguments]
        return subprocess.run(asked, env=env, capture_output=True, text=True, timeout=120)

    return run


def test_an_admin_lists_users_and_finds_them_by_name_or_address(admins_api, root, alice, charlie):
    answered = admins_api.get("/api/admin/users?limit=2").json
    assert [user["email"] for user in answered["users"]] == ["charlie@example.com", "alice@example.com"]
    assert answered["pagination"] == {"currentPage": 1, "totalPages": 2, "totalItems": 3}
    [found] = admins_api.get("/api/admin/users?search=CHARL").json["users"]
    assert found["id"] == str(charlie.id)
    facts = {"name": "Charlie", "isActive": True, "isSuperuser": False, "emailVerified": False}
    assert facts.items() <= found.items()
    assert found.keys().isdisjoint({"passwordHash", "githubId", "token"})


def test_an_admin_lists_everybodys_deployments_with_their_owners(admins_api, api, project, alice):
    made = api.post("/api/deployments", {"projectId": project["id"]}).json
    [shown] = admins_api.get("/api/admin/deployments?status=building&search=site").json["deployments"]
    assert (shown["id"], shown["status"]) == (made["id"], "queued")
    assert shown["owner"] == {"id": str(alice.id), "name": "Alice", "email": "alice@example.com"}
    assert admins_api.get("/api/admin/deployments?status=failed").json["deployments"] == []


def test_seeing_a_deployment_in_the_list_opens_no_door_to_it(admins_api, api, project):
    made = api.post("/api/deployments", {"projectId": project["id"]}).json
    assert admins_api.get(f"/api/deployments/{made['id']}").status_code == 404


def test_a_suspended_users_sessions_and_tokens_end_at_once_and_nothing_lets_them_in(
    app, admins_api, api, browser, alice
):
    pair = Api(app).post("/api/auth/login", {"email": alice.email, "password": alice.password}).json
    answered = admins_api.post(f"/api/admin/users/{alice.id}/suspend")
    assert (answered.status_code, answered.json["isActive"]) == (200, False)
    assert api.get("/api/auth/session").status_code == 401
    assert browser.get("/projects").location.startswith("/login")
    assert Api(app).post("/api/auth/refresh", {"refreshToken": pair["refreshToken"]}).status_code == 401
    again = Api(app).post("/api/auth/login", {"email": alice.email, "password": alice.password})
    assert (again.status_code, again.json["error"]["code"]) == (401, "INVALID_CREDENTIALS")


def test_a_reactivated_user_signs_in_again_but_old_sessions_stay_ended(app, admins_api, api, alice):
    admins_api.post(f"/api/admin/users/{alice.id}/suspend")
    answered = admins_api.post(f"/api/admin/users/{alice.id}/reactivate")
    assert (answered.status_code, answered.json["isActive"]) == (200, True)
    assert api.get("/api/auth/session").status_code == 401
    given = {"email": alice.email, "password": alice.password}
    assert Api(app).post("/api/auth/login", given).status_code == 200


def test_reactivating_an_active_user_ends_nothing(admins_api, api, alice):
    assert admins_api.post(f"/api/admin/users/{alice.id}/reactivate").status_code == 200
    assert api.get("/api/auth/session").status_code == 200


def test_an_admin_cannot_suspend_themself(admins_api, root):
    answered = admins_api.post(f"/api/admin/users/{root.id}/suspend")
    assert (answered.status_code, answered.json["error"]["code"]) == (409, "OWN_ACCOUNT")
    assert admins_api.get("/api/auth/session").status_code == 200


def test_an_admin_suspends_another_admin(app, admins_api, alice):
    appoint(app, alice)
    assert admins_api.post(f"/api/admin/users/{alice.id}/suspend").status_code == 200


def test_of_two_admins_who_suspend_each_other_at_once_one_remains(app, root, alice):
    appoint(app, alice)

    def suspend(pair):
        admin, other = pair
        with app.app_context():
            try:
                service.suspend(db.session.get(service.User, admin.id), other.id)
            except service.LastAdmin:
                return "refused"
            return "suspended"

    with ThreadPoolExecutor() as pool:
        assert sorted(pool.map(suspend, [(root, alice), (alice, root)])) == ["refused", "suspended"]
    with app.app_context():
        assert db.session.scalar(text("SELECT count(*) FROM users WHERE is_superuser AND is_active")) == 1


def test_a_user_that_is_nobody_is_not_found(admins_api):
    for verb in ("suspend", "reactivate"):
        answered = admins_api.post(f"/api/admin/users/{uuid.uuid4()}/{verb}")
        assert (answered.status_code, answered.json["error"]["code"]) == (404, "USER_NOT_FOUND")


def test_a_dismissed_admin_is_one_no_more_at_once(app, admins_api, root):
    with app.app_context():
        service.appoint(root.email, is_superuser=False)
    answered = admins_api.get("/api/admin/users")
    assert (answered.status_code, answered.json["error"]["code"]) == (403, "FORBIDDEN")


def test_the_pages_show_users_and_suspend_and_reactivate_them(admins_browser, browser, alice):
    page = admins_browser.get("/admin/users").text
    assert "alice@example.com" in page
    assert f"/admin/users/{alice.id}/suspend" in page
    answered = admins_browser.post(f"/admin/users/{alice.id}/suspend", follow_redirects=True)
    assert "alice@example.com is suspended" in answered.text
    assert browser.get("/projects").status_code == 302
    assert f"/admin/users/{alice.id}/reactivate" in answered.text
    answered = admins_browser.post(f"/admin/users/{alice.id}/reactivate", follow_redirects=True)
    assert "alice@example.com may sign in again" in answered.text


def test_the_page_offers_no_suspension_of_oneself_and_refuses_one(admins_browser, root):
    assert f"/admin/users/{root.id}/suspend" not in admins_browser.get("/admin/users").text
    answered = admins_browser.post(f"/admin/users/{root.id}/suspend", follow_redirects=True)
    assert "You cannot suspend yourself." in answered.text


def test_the_page_of_deployments_shows_everybodys(admins_browser, api, project):
    api.post("/api/deployments", {"projectId": project["id"]})
    assert "alice@example.com" in admins_browser.get("/admin/deployments").text
    assert "No deployment matches" in admins_browser.get("/admin/deployments?search=nothing").text


def test_only_admins_see_the_way_there(admins_browser, browser):
    assert "/admin/users" in admins_browser.get("/projects").text
    assert "/admin/users" not in browser.get("/projects").text
    assert browser.get("/admin/users").status_code == 403


def test_an_operator_appoints_lists_and_dismisses_admins(app, command, api, alice):
    done = command("promote", "Alice@Example.com")
    assert (done.returncode, done.stdout) == (0, "alice@example.com is an admin now.\n")
    assert api.get("/api/admin/users").status_code == 200
    assert command("list").stdout == "alice@example.com\tAlice\tadmin\n"
    assert command("demote", alice.email).stdout == "alice@example.com is no admin now.\n"
    assert api.get("/api/admin/users").status_code == 403


def test_promoting_nobody_is_one_line(command):
    done = command("promote", "who@example.com")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "autostack: Nobody has an account with the address who@example.com\n"


def test_without_a_database_the_command_is_one_line(tmp_path):
    env = {**os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    asked = [SCRIPT, "users", "--data-dir", str(tmp_path), "list"]
    done = subprocess.run(asked, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("autostack: PostgreSQL does not answer")
    assert len(done.stderr.splitlines()) == 1


def test_the_status_page_tells_admins_alone_that_builds_may_run_without_a_sandbox(
    app, admins_browser, browser, nobodys_browser, monkeypatch
):
    told = "ALLOW_UNSANDBOXED_BUILDS is on"
    assert told not in admins_browser.get("/status").text
    allowed = app.config["AUTOSTACK"].model_copy(update={"allow_unsandboxed_builds": True})
    monkeypatch.setitem(app.config, "AUTOSTACK", allowed)
    assert told in admins_browser.get("/status").text
    assert told not in browser.get("/status").text
    assert told not in nobodys_browser.get("/status").text
