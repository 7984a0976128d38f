"""A user's own profile, preferences and password, over the API."""

from __future__ import annotations

import pytest
from flask import Flask

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


class TestTheSettingsPage:
    def test_changes_the_name(self, app: Flask, alice: Person) -> None:
        browser = Browser(app).sign_in(alice)
        assert browser.post("/settings", {"name": "Alice Liddell"}).status_code == 303
        assert 'value="Alice Liddell"' in browser.get("/settings").text
        assert browser.post("/settings", {"name": ""}).status_code == 422

    def test_changes_the_password_and_says_what_is_wrong_at_its_field(self, app: Flask, alice: Person) -> None:
        browser = Browser(app).sign_in(alice)
        wrong = browser.post("/settings/account/password", {"currentPassword": "no", "newPassword": "a new horse 1"})
        assert wrong.status_code == 422
        assert "currentPassword-error" in wrong.text
        fields = {"currentPassword": alice.password, "newPassword": "a new horse 1"}
        assert browser.post("/settings/account/password", fields).status_code == 303
        assert browser.get("/projects").status_code == 200
        assert Api(app, alice.token).get("/api/projects").status_code == 401
