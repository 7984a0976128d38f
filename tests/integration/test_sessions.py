"""Sessions: of browsers and API clients, looked at and ended; what they outlive and what ends them."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import OctKey
from redis import Redis
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session as OrmSession

from autostack.accounts import one_time, passwords, service, sessions, tickets
from autostack.accounts.models import Session, User
from autostack.accounts.one_time import Purpose
from autostack.extensions import db
from tests.people import PASSWORD, Api, Browser, Person


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return Redis.from_url(redis_url)


def log_in(app: Flask, person: Person) -> dict[str, str]:
    answer = Api(app).post("/api/auth/login", {"email": person.email, "password": person.password})
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def claims_of(app: Flask, token: str, secret: str) -> dict[str, int]:
    return dict(jwt.decode(token, OctKey.import_key(app.config["AUTOSTACK"].secret(secret))).claims)


class TestOfABrowser:
    def test_the_cookie_is_a_random_id_that_changes_with_each_log_in_and_out(self, app, alice):
        browser = Browser(app)
        browser.get("/login")
        planted = browser.cookie()
        browser.sign_in(alice)
        signed_in = browser.cookie()
        assert len(signed_in) == 43
        assert signed_in != planted
        browser.post("/logout")
        assert browser.cookie() not in {planted, signed_in}

    def test_a_copy_of_the_cookie_is_worthless_after_logging_out(self, app, alice):
        browser, copy = Browser(app).sign_in(alice), Browser(app)
        copy.client.set_cookie("session", browser.cookie())
        assert copy.get("/projects").status_code == 200
        browser.post("/logout")
        assert copy.get("/projects").status_code == 302

    def test_an_id_that_was_planted_before_the_log_in_is_nobodys_after_it(self, app, alice):
        victim, attacker = Browser(app), Browser(app)
        for browser in (victim, attacker):
            browser.client.set_cookie("session", "A" * 43)
        victim.sign_in(alice)
        assert attacker.get("/projects").status_code == 302

    def test_it_outlives_all_that_redis_knows(self, app, alice, redis):
        browser = Browser(app).sign_in(alice)
        token = browser.csrf_token()
        for key in redis.scan_iter("autostack:browser:*"):
            redis.delete(key)
        assert browser.get("/projects").status_code == 200
        # Also a form that stood open.
        assert browser.client.post("/logout", data={"csrf_token": token}).status_code == 303

    def test_redis_does_not_hold_what_signs_in(self, app, alice, redis):
        browser = Browser(app).sign_in(alice)
        held = [(key, redis.get(key)) for key in redis.scan_iter("autostack:browser:*")]
        assert held
        assert not any(browser.cookie().encode() in key + value for key, value in held)

    def test_a_page_without_a_form_gives_no_cookie(self, app):
        assert "Set-Cookie" not in app.test_client().get("/healthz").headers
        assert "Set-Cookie" not in app.test_client().get("/api/projects").headers
        assert "Set-Cookie" in app.test_client().get("/login").headers

    def test_remembered_it_has_a_date_else_it_ends_with_the_browser(self, app, alice):
        for remember, dated in (("on", True), (None, False)):
            browser = Browser(app)
            fields = {"email": alice.email, "password": PASSWORD, **({"remember": remember} if remember else {})}
            assert ("Expires=" in browser.post("/login", fields).headers["Set-Cookie"]) == dated

    def test_the_secret_of_an_api_session_is_no_cookie(self, app, alice):
        refresh = log_in(app, alice)["refreshToken"]
        secret = claims_of(app, refresh, "refresh_token_secret")["jti"]
        browser = Browser(app)
        browser.client.set_cookie("session", secret)
        assert browser.get("/projects").status_code == 302


class TestHowLongTheyLast:
    """They last for days here: what a busy machine takes between two looks at the clock is a small part of that."""

    def test_tokens_and_their_session_end_when_it_is_set(self, make_app, alice):
        app = make_app(jwt_expires_in_s="2d", refresh_token_expires_in_s="5d")
        tokens = log_in(app, alice)
        access = claims_of(app, tokens["token"], "jwt_secret")
        refresh = claims_of(app, tokens["refreshToken"], "refresh_token_secret")
        assert tokens["expiresIn"] == access["exp"] - access["iat"] == 2 * 86_400
        assert refresh["exp"] - refresh["iat"] == pytest.approx(5 * 86_400, abs=600)
        with app.app_context():
            session = db.session.get(Session, uuid.UUID(access["sid"]))
            assert session.expires_at.timestamp() == pytest.approx(refresh["exp"], abs=600)

    @pytest.mark.parametrize(("fields", "days"), [({}, 2), ({"remember": "on"}, 5)])
    def test_who_is_remembered_is_signed_in_as_long_as_a_refresh_token_lasts(self, make_app, alice, fields, days):
        app = make_app(jwt_expires_in_s="2d", refresh_token_expires_in_s="5d")
        browser = Browser(app).sign_in(alice, **fields)
        with app.app_context():
            ends_at = sessions.session_of_secret(browser.cookie()).expires_at
        assert (ends_at - datetime.now(UTC)).total_seconds() == pytest.approx(days * 86_400, abs=600)
        cookie = browser.client.get_cookie("session")
        if fields:
            assert cookie.expires.timestamp() == pytest.approx(ends_at.timestamp(), abs=600)


class TestTheList:
    def test_tells_where_each_is_from_and_which_is_this_one(self, app, alice):
        browser = Browser(app)
        browser.client.environ_base["HTTP_USER_AGENT"] = "Mozilla/5.0 (X11; Linux) Firefox/140.0"
        browser.sign_in(alice)
        listed = browser.get("/api/user/sessions").json["sessions"]
        mine = next(session for session in listed if session["current"])
        assert (mine["kind"], mine["address"]) == ("browser", "127.0.0.1")
        assert "Firefox/140.0" in mine["userAgent"]
        assert [session["kind"] for session in listed if not session["current"]] == ["api"]

    def test_one_that_is_ended_is_out_at_once(self, app, alice):
        browser, phone = Browser(app).sign_in(alice), Browser(app).sign_in(alice)
        ids = {s["id"] for s in browser.get("/api/user/sessions").json["sessions"] if s["kind"] == "browser"}
        current = {s["id"] for s in browser.get("/api/user/sessions").json["sessions"] if s["current"]}
        (other,) = ids - current
        headers = {"X-CSRFToken": browser.csrf_token()}
        assert browser.client.delete(f"/api/user/sessions/{other}", headers=headers).status_code == 204
        assert phone.get("/projects").status_code == 302
        assert browser.client.delete(f"/api/user/sessions/{other}", headers=headers).status_code == 404

    def test_all_others_end_together(self, app, alice):
        api, other = Api(app, alice.token), Api(app, log_in(app, alice)["token"])
        assert api.delete("/api/user/sessions").status_code == 204
        assert other.get("/api/auth/session").status_code == 401
        assert len(api.get("/api/user/sessions").json["sessions"]) == 1

    def test_a_strangers_session_is_not_there(self, app, alice, charlie):
        (mine,) = Api(app, alice.token).get("/api/user/sessions").json["sessions"]
        assert Api(app, charlie.token).delete(f"/api/user/sessions/{mine['id']}").status_code == 404
        assert Api(app, alice.token).get("/api/auth/session").status_code == 200

    def test_when_it_was_used_last_is_known_to_the_minute(self, app, alice):
        with app.app_context():
            long_ago = datetime.now(UTC) - timedelta(hours=1)
            db.session.execute(update(Session).where(Session.user_id == alice.id).values(last_seen_at=long_ago))
            db.session.commit()
        api = Api(app, alice.token)
        api.get("/api/projects")
        (mine,) = api.get("/api/user/sessions").json["sessions"]
        assert datetime.fromisoformat(mine["lastSeenAt"]) > datetime.now(UTC) - timedelta(minutes=1)


class TestRefreshing:
    def test_makes_no_session_last_longer(self, app, alice):
        tokens = log_in(app, alice)
        with app.app_context():
            soon = datetime.now(UTC) + timedelta(seconds=100)
            db.session.execute(update(Session).where(Session.user_id == alice.id).values(expires_at=soon))
            db.session.commit()
        again = Api(app).post("/api/auth/refresh", {"refreshToken": tokens["refreshToken"]}).json
        assert again["expiresIn"] <= 100
        for name, secret in (("token", "jwt_secret"), ("refreshToken", "refresh_token_secret")):
            claims = claims_of(app, again[name], secret)
            assert claims["exp"] - claims["iat"] <= 100

    def test_twice_at_once_ends_the_family(self, app, alice):
        tokens = log_in(app, alice)
        body = {"refreshToken": tokens["refreshToken"]}
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: Api(app).post("/api/auth/refresh", body), range(8)))
        assert sorted(answer.status_code for answer in answers)[1:] == [401] * 7
        for answer in answers:
            if answer.status_code == 200:
                assert Api(app, answer.json["token"]).get("/api/auth/session").status_code == 401
        assert Api(app, tokens["token"]).get("/api/auth/session").status_code == 401


class TestTickets:
    def test_stand_for_who_asked_once(self, app, alice):
        answer = Api(app, alice.token).post("/api/auth/ticket")
        assert (answer.status_code, answer.json["expiresIn"]) == (201, tickets.LIFETIME_S)
        with app.app_context():
            found = tickets.redeem(answer.json["ticket"])
            assert found is not None
            assert found.user_id == alice.id
            assert tickets.redeem(answer.json["ticket"]) is None
            assert tickets.redeem("never was one") is None

    def test_are_worth_nothing_once_the_session_has_ended(self, app, alice):
        ticket = Api(app, alice.token).post("/api/auth/ticket").json["ticket"]
        Api(app, alice.token).post("/api/auth/logout")
        with app.app_context():
            assert tickets.redeem(ticket) is None


class TestWhatEndsThemAll:
    def test_a_change_of_password_ends_other_sessions_and_every_token(self, app, alice):
        api, other = Api(app, alice.token), Api(app, log_in(app, alice)["token"])
        token = api.post("/api/user/tokens", {"name": "CI", "scope": "admin"}).json["token"]
        browser = Browser(app).sign_in(alice)
        body = {"currentPassword": PASSWORD, "newPassword": "another horse battery"}
        assert api.put("/api/user/password", body).status_code == 204
        assert api.get("/api/auth/session").status_code == 200
        assert other.get("/api/auth/session").status_code == 401
        assert Api(app, token).get("/api/projects").status_code == 401
        assert browser.get("/projects").status_code == 302

    def test_deleting_the_account_ends_everything(self, app, alice):
        api = Api(app, alice.token)
        token = api.post("/api/user/tokens", {"name": "CI", "scope": "admin"}).json["token"]
        assert api.delete("/api/user/account", {"password": PASSWORD}).status_code == 204
        assert Api(app, token).get("/api/projects").status_code == 401
        assert api.get("/api/auth/session").status_code == 401


class TestWhatHappensMeanwhile:
    def test_a_log_in_with_a_password_that_is_changed_meanwhile_is_refused(self, app, alice):
        with app.app_context():
            user = service.log_in(alice.email, PASSWORD)
            # A context of its own is a database session of its own.
            with app.app_context():
                session = db.session.scalars(select(Session).where(Session.user_id == alice.id)).one()
                service.change_password(session, PASSWORD, "another horse battery")
            with pytest.raises(service.InvalidCredentials):
                sessions.open_api_session(user)

    def test_a_session_that_ends_as_its_use_is_noted_is_no_session(self, app, alice):
        with app.app_context():
            db.session.execute(db.text("UPDATE sessions SET last_seen_at = now() - interval '1 hour'"))
            db.session.commit()
            engine = db.engine

        def end_all(_session):
            with engine.begin() as connection:
                connection.execute(db.text("DELETE FROM sessions"))

        event.listen(OrmSession, "after_commit", end_all, once=True)
        assert Api(app, alice.token).get("/api/projects").status_code == 401

    def test_an_emptied_session_store_that_holds_something_else_is_as_good_as_empty(self, app, alice, redis):
        browser = Browser(app).sign_in(alice)
        for key in redis.scan_iter("autostack:browser:*"):
            redis.set(key, b"{ not as we write it")
        assert browser.get("/projects").status_code == 200


def test_a_change_of_password_under_way_does_not_outlive_a_reset(app, alice, monkeypatch):
    """Between the new password's hash and its being kept, the owner resets by mail."""
    slow = passwords.hash_password

    def reset_meanwhile(password, rounds):
        monkeypatch.undo()
        with app.app_context():
            user = db.session.scalars(select(User).where(User.id == alice.id)).one()
            secret = one_time.issue(user.id, Purpose.RESET_PASSWORD, datetime.now(UTC) + timedelta(minutes=5))
            db.session.commit()
            service.reset_password(secret, "what the owner chose")
        return slow(password, rounds)

    monkeypatch.setattr(passwords, "hash_password", reset_meanwhile)
    body = {"currentPassword": PASSWORD, "newPassword": "what the thief chose"}
    assert Api(app, alice.token).put("/api/user/password", body).status_code == 401
    for password, status in (("what the thief chose", 401), ("what the owner chose", 200)):
        tried = Api(app).post("/api/auth/login", {"email": alice.email, "password": password})
        assert tried.status_code == status


@pytest.mark.parametrize("given", ["x" * 100, "2001:db8::1%" + "e" * 60, "::ffff:192.0.2.1", ""])
def test_whatever_a_proxy_says_of_the_client_a_log_in_is_one(make_app, alice, given):
    app = make_app(trusted_proxies=1)
    answer = app.test_client().post(
        "/api/auth/login",
        json={"email": alice.email, "password": PASSWORD},
        headers={"X-Forwarded-For": given},
    )
    assert answer.status_code == 200, answer.text


def test_an_unknown_session_is_404(app, alice):
    assert Api(app, alice.token).delete(f"/api/user/sessions/{uuid.uuid4()}").status_code == 404


class TestThePages:
    def test_show_sessions_and_end_them(self, app, alice):
        browser, phone = Browser(app), Browser(app)
        browser.client.environ_base["HTTP_USER_AGENT"] = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
        browser.sign_in(alice)
        phone.sign_in(alice)
        page = browser.get("/settings/sessions").text
        assert "Firefox on Linux" in page
        assert page.count("This session") == 1
        listed = browser.get("/api/user/sessions").json["sessions"]
        other = next(s["id"] for s in listed if s["kind"] == "browser" and not s["current"])
        assert browser.post(f"/settings/sessions/{other}/end").status_code == 303
        assert phone.get("/projects").status_code == 302
        assert browser.post("/settings/sessions/end-others").status_code == 303
        assert len(browser.get("/api/user/sessions").json["sessions"]) == 1
