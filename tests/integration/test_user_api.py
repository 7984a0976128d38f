"""A user's own profile, preferences and password, over the API."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from autostack.accounts.models import User
from autostack.deployments import jobs
from autostack.extensions import db, store
from tests.builders import build, publish
from tests.people import PASSWORD, Api, Browser, Person

NEW_PASSWORD = "an entirely new one"


def test_a_profile_says_who_one_is(api: Api, alice: Person) -> None:
    profile = api.get("/api/user/profile").json
    assert set(profile) == {"id", "name", "email", "avatarUrl", "emailVerified", "createdAt"}
    assert (profile["name"], profile["email"]) == ("Alice", alice.email)


def test_a_name_can_be_changed_and_an_address_cannot(api: Api, alice: Person) -> None:
    changed = api.put("/api/user/profile", {"name": "Alice L.", "email": "other@example.com"})
    assert (changed.json["name"], changed.json["email"]) == ("Alice L.", alice.email)
    assert api.get("/api/user/profile").json["name"] == "Alice L."


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "a\nb", 5])
def test_a_name_that_cannot_be_one_is_refused(api: Api, name: object) -> None:
    answered = api.put("/api/user/profile", {"name": name})
    assert (answered.status_code, list(answered.json["error"]["details"])) == (422, ["name"])


def test_preferences_change_where_they_are_given(api: Api) -> None:
    assert api.get("/api/user/preferences").json == {
        "theme": "system",
        "emailNotifications": True,
        "deploymentSuccessNotifications": True,
        "deploymentFailureNotifications": True,
    }
    changed = api.put("/api/user/preferences", {"theme": "dark", "emailNotifications": False}).json
    assert (changed["theme"], changed["emailNotifications"], changed["deploymentSuccessNotifications"]) == (
        "dark",
        False,
        True,
    )
    assert api.get("/api/user/preferences").json == changed


def test_a_theme_that_there_is_not_is_refused(api: Api) -> None:
    assert api.put("/api/user/preferences", {"theme": "sepia"}).status_code == 422


def test_changing_the_password_ends_all_sessions_but_this(
    app: Flask, api: Api, browser: Browser, alice: Person
) -> None:
    changed = api.put("/api/user/password", {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD})
    assert changed.status_code == 204
    assert api.get("/api/user/profile").status_code == 200
    assert browser.get("/projects").status_code == 302
    assert Api(app).post("/api/auth/login", {"email": alice.email, "password": PASSWORD}).status_code == 401
    assert Api(app).post("/api/auth/login", {"email": alice.email, "password": NEW_PASSWORD}).status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [("wrong password", NEW_PASSWORD, "currentPassword"), (PASSWORD, "password123", "newPassword")],
)
def test_a_password_is_only_changed_by_who_knows_it_and_to_a_good_one(
    api: Api, current: str, new: str, field: str
) -> None:
    answered = api.put("/api/user/password", {"currentPassword": current, "newPassword": new})
    assert (answered.status_code, list(answered.json["error"]["details"])) == (422, [field])


def test_a_common_password_cannot_be_chosen_at_sign_up(nobodys_api: Api) -> None:
    fields = {"name": "Bob", "email": "bob@example.com", "password": "Password1"}
    answered = nobodys_api.post("/api/auth/signup", fields)
    assert "most common" in answered.json["error"]["details"]["password"]


def test_deleting_an_account_takes_everything_with_it(
    app: Flask, api: Api, browser: Browser, alice: Person, project: dict[str, Any], strangers_api: Api
) -> None:
    deployment = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, deployment, {"/index.html": b"hi"})
    publish(app, deployment)
    strangers = strangers_api.post("/api/projects", {"name": "Site", "repository": project["repository"]})

    assert api.delete("/api/user/account", {"password": "wrong password"}).status_code == 422
    assert api.delete("/api/user/account", {"password": PASSWORD}).status_code == 204

    assert api.get("/api/user/profile").status_code == 401
    assert browser.get("/projects").status_code == 302
    assert Api(app).post("/api/auth/login", {"email": alice.email, "password": PASSWORD}).status_code == 401
    with app.app_context():
        jobs.remove_planned()
        assert list(store().names(f"projects/{project['id']}")) == []
        assert db.session.scalar(select(func.count()).select_from(User)) == 1
    assert strangers_api.get(f"/api/projects/{strangers.json['id']}").status_code == 200


def test_an_address_is_free_again_once_its_account_is_deleted(api: Api, alice: Person, nobodys_api: Api) -> None:
    api.delete("/api/user/account", {"password": PASSWORD})
    again = {"name": "Alice", "email": alice.email, "password": PASSWORD}
    assert nobodys_api.post("/api/auth/signup", again).status_code == 201


class TestTheSettingsPage:
    def test_changes_the_name(self, app: Flask, alice: Person) -> None:
        browser = Browser(app).sign_in(alice)
        assert browser.post("/settings/account/profile", {"name": "Alice Liddell"}).status_code == 303
        assert 'value="Alice Liddell"' in browser.get("/settings/account").text
        assert browser.post("/settings/account/profile", {"name": ""}).status_code == 422

    def test_changes_the_password_and_says_what_is_wrong_at_its_field(self, app: Flask, alice: Person) -> None:
        browser = Browser(app).sign_in(alice)
        wrong = browser.post("/settings/account/password", {"currentPassword": "no", "newPassword": "a new horse 1"})
        assert wrong.status_code == 422
        assert "currentPassword-error" in wrong.text
        fields = {"currentPassword": alice.password, "newPassword": "a new horse 1"}
        assert browser.post("/settings/account/password", fields).status_code == 303
        assert browser.get("/projects").status_code == 200
        assert Api(app, alice.token).get("/api/projects").status_code == 401

    def test_deletes_the_account_with_its_password_only(self, app: Flask, alice: Person) -> None:
        browser = Browser(app).sign_in(alice)
        refused = browser.post("/settings/account/delete", {"password": "no"})
        assert (refused.status_code, "The password is wrong." in refused.text) == (422, True)
        assert browser.post("/settings/account/delete", {"password": alice.password}).status_code == 303
        assert "Your account is deleted" in browser.get("/login").text
        assert browser.get("/projects").status_code == 302
