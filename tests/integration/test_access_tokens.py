"""Personal access tokens: made, shown once, as good as their scope says, and revoked."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from autostack.accounts import tickets
from autostack.accounts.models import User
from autostack.extensions import db
from tests.people import Api, Browser


class TestAccessTokens:
    def make(self, app, alice, **changes):
        body = {"name": "CI", "scope": "deploy", **changes}
        answer = Api(app, alice.token).post("/api/user/tokens", body)
        assert answer.status_code == 201, answer.text
        return answer.json

    def test_is_shown_once_and_works_until_it_is_revoked(self, app, alice):
        made, owner = self.make(app, alice), Api(app, alice.token)
        assert made["token"].startswith("ast_")
        ci = Api(app, made["token"])
        assert ci.get("/api/projects").status_code == 200
        (listed,) = owner.get("/api/user/tokens").json["tokens"]
        assert made["token"] not in str(listed)
        assert made["token"].startswith(listed["hint"])
        assert listed["lastUsedAt"]
        assert owner.delete(f"/api/user/tokens/{made['id']}").status_code == 204
        assert ci.get("/api/projects").status_code == 401
        assert owner.delete(f"/api/user/tokens/{made['id']}").status_code == 404

    @pytest.mark.parametrize(
        ("scope", "reads", "writes", "administers"),
        [("read", 200, 403, 403), ("deploy", 200, 422, 403), ("admin", 200, 422, 200)],
    )
    def test_may_do_what_its_scope_says(self, app, alice, scope, reads, writes, administers):
        token = Api(app, self.make(app, alice, scope=scope)["token"])
        assert token.get("/api/projects").status_code == reads
        refused = token.post("/api/projects", {})
        assert refused.status_code == writes
        assert token.get("/api/user/tokens").status_code == administers
        if writes == 403:
            assert refused.json["error"]["code"] == "MISSING_SCOPE"

    def test_has_no_session_and_makes_no_other_token(self, app, alice):
        token = Api(app, self.make(app, alice, scope="admin")["token"])
        for answer in (
            token.get("/api/auth/session"),
            token.post("/api/auth/logout"),
            token.get("/api/user/sessions"),
            token.post("/api/user/tokens", {"name": "another", "scope": "read"}),
        ):
            assert (answer.status_code, answer.json["error"]["code"]) == (403, "SESSION_REQUIRED")

    def test_that_only_reads_may_listen_too(self, app, alice):
        token = Api(app, self.make(app, alice, scope="read")["token"])
        ticket = token.post("/api/auth/ticket").json["ticket"]
        with app.app_context():
            assert tickets.redeem(ticket).user_id == alice.id

    def test_of_an_admin_lists_users_only_with_the_scope_admin(self, app, alice):
        with app.app_context():
            db.session.execute(update(User).where(User.id == alice.id).values(is_superuser=True))
            db.session.commit()
        for scope, status in (("read", 403), ("deploy", 403), ("admin", 200)):
            token = Api(app, self.make(app, alice, scope=scope)["token"])
            assert token.get("/api/admin/users").status_code == status

    def test_an_expired_one_is_listed_and_works_no_more(self, app, alice):
        made = self.make(app, alice, expiresInDays=1)
        with app.app_context():
            db.session.execute(db.text("UPDATE personal_access_tokens SET expires_at = now()"))
            db.session.commit()
        assert Api(app, made["token"]).get("/api/projects").status_code == 401
        assert len(Api(app, alice.token).get("/api/user/tokens").json["tokens"]) == 1

    def test_the_database_does_not_hold_it(self, app, alice):
        made = self.make(app, alice)
        with app.app_context():
            rows = db.session.execute(db.text("SELECT t::text FROM personal_access_tokens t")).scalars().all()
        assert rows
        assert not any(made["token"] in row for row in rows)

    def test_a_strangers_is_not_there(self, app, alice, charlie):
        made = self.make(app, alice)
        assert Api(app, charlie.token).delete(f"/api/user/tokens/{made['id']}").status_code == 404
        assert Api(app, charlie.token).get("/api/user/tokens").json == {"tokens": []}
        assert Api(app, made["token"]).get("/api/projects").status_code == 200

    @pytest.mark.parametrize(
        "wrong", [{"name": ""}, {"name": "x" * 101}, {"scope": "root"}, {"expiresInDays": 0}, {"expiresInDays": 4000}]
    )
    def test_what_it_cannot_be_is_said_of_the_field(self, app, alice, wrong):
        answer = Api(app, alice.token).post("/api/user/tokens", {"name": "CI", "scope": "read", **wrong})
        assert answer.status_code == 422
        assert list(answer.json["error"]["details"]) == list(wrong)

    def test_there_are_only_so_many(self, app, alice):
        api = Api(app, alice.token)
        with ThreadPoolExecutor(4) as pool:
            body = {"name": "CI", "scope": "read"}
            codes = list(
                pool.map(lambda _: Api(app, alice.token).post("/api/user/tokens", body).status_code, range(55))
            )
        assert codes.count(201) == 50
        assert codes.count(409) == 5
        assert len(api.get("/api/user/tokens").json["tokens"]) == 50


class TestThePage:
    def test_make_a_token_show_it_once_and_revoke_it(self, app, alice):
        browser = Browser(app).sign_in(alice)
        made = browser.post("/settings/tokens", {"name": "CI", "scope": "deploy", "expiresInDays": "30"})
        secret = re.search(r"ast_[A-Za-z0-9_-]{43}", made.text).group()
        assert Api(app, secret).get("/api/projects").status_code == 200
        page = browser.get("/settings/tokens").text
        assert secret not in page
        (listed,) = browser.get("/api/user/tokens").json["tokens"]
        assert browser.post(f"/settings/tokens/{listed['id']}/revoke").status_code == 303
        assert Api(app, secret).get("/api/projects").status_code == 401

    def test_a_form_that_is_wrong_says_so_at_its_field(self, app, alice):
        browser = Browser(app).sign_in(alice)
        refused = browser.post("/settings/tokens", {"name": "", "scope": "deploy", "expiresInDays": ""})
        assert refused.status_code == 422
        assert "name-error" in refused.text
