"""Confirming an address and choosing a new password, by links in real mails."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update

from autostack import mail
from autostack.accounts import mails, service
from autostack.accounts.models import OneTimeToken, PendingMail, User
from autostack.accounts.one_time import Purpose
from autostack.extensions import db
from autostack.settings import Settings
from tests.certificates import make_certificate
from tests.conftest import AppMaker
from tests.mailbox import Mailbox, link_in, running_mailbox, token_in
from tests.people import PASSWORD, Api, Browser, Person

NEW_PASSWORD = "an entirely new one"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as running:
        yield running


@pytest.fixture
def posting(make_app: AppMaker, mailbox: Mailbox) -> Flask:
    """The application with the mailbox as its SMTP server, and `https://autostack.example.com` as its address."""
    return make_app(smtp_host=mailbox.host, smtp_port=mailbox.port, app_url="https://autostack.example.com")


@pytest.fixture
def dora(posting: Flask, mailbox: Mailbox) -> Api:
    """Somebody who has just signed up, and whose mail has arrived."""
    answered = Api(posting).post(
        "/api/auth/signup", {"name": "Dora", "email": "dora@example.com", "password": PASSWORD}
    )
    deliver(posting)
    mailbox.wait(1)
    return Api(posting, answered.json["token"])


def deliver(app: Flask) -> None:
    """Do what the job does."""
    with app.app_context():
        mails.send_due()


def pending(app: Flask) -> int:
    with app.app_context():
        waiting = select(func.count()).where(PendingMail.due_at.is_not(None))
        return db.session.scalar(waiting) or 0


def make_due(app: Flask) -> None:
    with app.app_context():
        db.session.execute(update(PendingMail).where(PendingMail.due_at.is_not(None)).values(due_at=func.now()))
        db.session.commit()


def let_the_interval_pass(app: Flask) -> None:
    with app.app_context():
        db.session.execute(update(PendingMail).values(quiet_until=func.now()))
        db.session.commit()


def ask(app: Flask, email: str = "dora@example.com") -> bytes:
    """Forget the password; return what is answered."""
    answered = Api(app).post("/api/auth/forgot-password", {"email": email})
    assert answered.status_code == 200
    return answered.data


def forgotten(app: Flask, mailbox: Mailbox, email: str = "dora@example.com") -> str:
    """Ask for a new password and return the link's secret."""
    count = len(mailbox.mails)
    ask(app, email)
    deliver(app)
    return token_in(mailbox.wait(count + 1))


def logs_in(app: Flask, password: str) -> bool:
    credentials = {"email": "dora@example.com", "password": password}
    return Api(app).post("/api/auth/login", credentials).status_code == 200


def test_who_signs_up_gets_a_link_that_confirms_the_address(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    assert dora.get("/api/user/profile").json["emailVerified"] is False
    mail = mailbox.mails[0]
    assert mail["To"] == "dora@example.com"
    assert link_in(mail).startswith("https://autostack.example.com/verify-email?token=")
    assert Api(posting).post("/api/auth/verify-email", {"token": token_in(mail)}).status_code == 200
    assert dora.get("/api/user/profile").json["emailVerified"] is True


def test_opening_the_link_only_asks_and_the_button_confirms(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    browser, token = Browser(posting), token_in(mailbox.mails[0])
    page = browser.get(f"/verify-email?token={token}")
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert dora.get("/api/user/profile").json["emailVerified"] is False
    assert browser.post("/verify-email", {"token": token}).status_code == 303
    assert dora.get("/api/user/profile").json["emailVerified"] is True
    assert browser.post("/verify-email", {"token": token}).status_code == 422


def test_a_link_for_one_thing_is_no_good_for_another(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    fields = {"token": token_in(mailbox.mails[0]), "password": NEW_PASSWORD}
    answered = Api(posting).post("/api/auth/reset-password", fields)
    assert (answered.status_code, answered.json["error"]["code"]) == (422, "INVALID_TOKEN")


def test_a_reset_changes_the_password_and_ends_every_session(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    token = forgotten(posting, mailbox)
    answered = Api(posting).post("/api/auth/reset-password", {"token": token, "password": NEW_PASSWORD})
    assert answered.status_code == 200
    assert dora.get("/api/user/profile").status_code == 401
    assert not logs_in(posting, PASSWORD)
    assert logs_in(posting, NEW_PASSWORD)


def test_a_link_is_good_once(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    fields = {"token": forgotten(posting, mailbox), "password": NEW_PASSWORD}
    assert Api(posting).post("/api/auth/reset-password", fields).status_code == 200
    again = Api(posting).post("/api/auth/reset-password", {**fields, "password": "yet another one"})
    assert again.json["error"]["code"] == "INVALID_TOKEN"
    assert logs_in(posting, NEW_PASSWORD)


def test_a_password_that_cannot_be_one_leaves_the_link_good(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    token = forgotten(posting, mailbox)
    refused = Api(posting).post("/api/auth/reset-password", {"token": token, "password": "password1"})
    assert "most common" in refused.json["error"]["details"]["password"]
    assert Api(posting).post("/api/auth/reset-password", {"token": token, "password": NEW_PASSWORD}).status_code == 200


def test_a_link_expires(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    token = forgotten(posting, mailbox)
    with posting.app_context():
        db.session.execute(update(OneTimeToken).values(expires_at=func.now() - text("interval '1 second'")))
        db.session.commit()
    answered = Api(posting).post("/api/auth/reset-password", {"token": token, "password": NEW_PASSWORD})
    assert answered.json["error"]["code"] == "INVALID_TOKEN"


def test_a_newer_link_takes_the_place_of_the_one_before(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    first = forgotten(posting, mailbox)
    let_the_interval_pass(posting)
    second = forgotten(posting, mailbox)
    for token, status in ((first, 422), (second, 200)):
        answered = Api(posting).post("/api/auth/reset-password", {"token": token, "password": NEW_PASSWORD})
        assert answered.status_code == status


def test_nobody_learns_whether_an_address_has_an_account(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    answers = [
        Api(posting).post("/api/auth/forgot-password", {"email": email}) for email in ("dora@example.com", "x@y.org")
    ]
    assert (answers[0].status_code, answers[0].data) == (answers[1].status_code, answers[1].data)
    deliver(posting)
    assert [mail["To"] for mail in mailbox.mails[1:]] == ["dora@example.com"]
    assert pending(posting) == 0


def test_a_link_never_takes_its_host_from_the_request(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    client = posting.test_client()
    client.post("/api/auth/forgot-password", json={"email": "dora@example.com"}, headers={"Host": "evil.example.net"})
    deliver(posting)
    assert link_in(mailbox.wait(2)).startswith("https://autostack.example.com/reset-password?token=")


def test_the_store_knows_no_secret(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    token = forgotten(posting, mailbox)
    with posting.app_context():
        kept = db.session.execute(text("SELECT token FROM one_time_tokens")).scalars().all()
    assert len(kept) == 2
    assert token not in kept


def test_a_mail_that_the_server_does_not_take_now_goes_out_later(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    mailbox.answer = "451 try again later"
    Api(posting).post("/api/auth/forgot-password", {"email": "dora@example.com"})
    deliver(posting)
    # It is not due again yet.
    deliver(posting)
    assert (mailbox.refused, pending(posting)) == (1, 1)
    mailbox.answer = "250 OK"
    make_due(posting)
    deliver(posting)
    assert "new password" in mailbox.wait(2)["Subject"]
    assert pending(posting) == 0


def test_a_mail_is_given_up_after_so_many_tries(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    mailbox.answer = "451 try again later"
    Api(posting).post("/api/auth/forgot-password", {"email": "dora@example.com"})
    for _ in range(8):
        deliver(posting)
        make_due(posting)
    assert (mailbox.refused, pending(posting)) == (6, 0)


def test_a_server_that_is_away_costs_no_mail(posting: Flask, dora: Api, make_app: AppMaker, mailbox: Mailbox) -> None:
    Api(posting).post("/api/auth/forgot-password", {"email": "dora@example.com"})
    away = make_app(smtp_host="127.0.0.1", smtp_port=1)
    deliver(away)
    assert pending(posting) == 1
    make_due(posting)
    deliver(posting)
    assert mailbox.wait(2)["To"] == "dora@example.com"


def test_without_a_server_mails_are_kept_as_files(app: Flask, alice: Person) -> None:
    folder = app.config["AUTOSTACK"].data_dir / "mail"
    before = set(folder.glob("*.eml"))
    deliver(app)
    [mail] = set(folder.glob("*.eml")) - before
    assert alice.email in mail.read_text()
    assert mail.stat().st_mode & 0o077 == 0


def test_a_closed_account_gets_no_link(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    with posting.app_context():
        db.session.execute(update(User).values(is_active=False))
        db.session.commit()
    Api(posting).post("/api/auth/forgot-password", {"email": "dora@example.com"})
    deliver(posting)
    assert len(mailbox.mails) == 1


def test_a_name_cannot_add_a_header(posting: Flask, mailbox: Mailbox) -> None:
    with posting.app_context():
        service.sign_up("Eve\nBcc: mallory@example.net", "eve@example.com", PASSWORD)
    deliver(posting)
    assert mailbox.wait(1)["Bcc"] is None


def test_the_whole_way_on_pages(posting: Flask, dora: Api, mailbox: Mailbox) -> None:
    browser = Browser(posting)
    assert "/forgot-password" in browser.get("/login").text
    assert "on its way" in browser.post("/forgot-password", {"email": "dora@example.com"}).text
    deliver(posting)
    token = token_in(mailbox.wait(2))
    assert token in browser.get(f"/reset-password?token={token}").text
    short = browser.post("/reset-password", {"token": token, "password": "short"})
    assert (short.status_code, token in short.text) == (422, True)
    changed = browser.post("/reset-password", {"token": token, "password": NEW_PASSWORD})
    assert (changed.status_code, changed.location) == (303, "/login")
    gone = browser.post("/reset-password", {"token": token, "password": NEW_PASSWORD})
    assert "not valid any more" in gone.text


def test_an_unconfirmed_address_is_said_on_pages_until_it_is_confirmed(
    posting: Flask, dora: Api, mailbox: Mailbox
) -> None:
    browser = Browser(posting)
    browser.post("/login", {"email": "dora@example.com", "password": PASSWORD})
    assert "Confirm your address" in browser.get("/projects").text
    let_the_interval_pass(posting)
    assert browser.post("/resend-verification").status_code == 303
    deliver(posting)
    browser.post("/verify-email", {"token": token_in(mailbox.wait(2))})
    assert "Confirm your address" not in browser.get("/projects").text


@pytest.fixture
def choosy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A mailbox that takes mails of `postman` alone, by a certificate that is trusted."""
    certificate = make_certificate(tmp_path / "mailbox.pem", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with running_mailbox(("postman", "rings twice"), certificate) as running:
        yield running


class TestWhatIsSet:
    """Each of the mails' settings has its effect. Alice's link, as she signs up, is the first mail."""

    def test_a_server_that_asks_who_it_is_gets_the_name_and_the_password(
        self, make_app: AppMaker, alice: Person, choosy: Mailbox
    ) -> None:
        server = {"smtp_host": choosy.host, "smtp_port": choosy.port}
        for login in ({}, {"smtp_user": "postman", "smtp_password": "knocks once"}):
            deliver(app := make_app(**server, **login))
            assert (choosy.mails, pending(app)) == ([], 1)
            make_due(app)
        deliver(make_app(**server, smtp_user="postman", smtp_password="rings twice"))
        assert choosy.wait()["To"] == alice.email

    def test_a_server_is_waited_for_as_long_as_is_set(
        self, make_app: AppMaker, alice: Person, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits = []

        class Noted(smtplib.SMTP):
            def connect(self, *address: Any, **options: Any) -> tuple[int, bytes]:
                answered = super().connect(*address, **options)
                waits.append(self.sock and self.sock.gettimeout())
                return answered

        monkeypatch.setattr(smtplib, "SMTP", Noted)
        deliver(make_app(smtp_host=mailbox.host, smtp_port=mailbox.port, smtp_timeout_s=77))
        assert mailbox.wait()["To"] == alice.email
        assert waits == [77]

    @pytest.mark.parametrize(
        ("given", "sender"),
        [
            ({"mail_from": "Deploy <noreply@mail.example.com>"}, "Deploy <noreply@mail.example.com>"),
            ({}, "Autostack <autostack@localhost>"),
        ],
    )
    def test_mails_are_from_whom_is_set(
        self, make_app: AppMaker, alice: Person, mailbox: Mailbox, given: dict[str, str], sender: str
    ) -> None:
        deliver(make_app(smtp_host=mailbox.host, smtp_port=mailbox.port, **given))
        assert mailbox.wait()["From"] == sender

    def test_tries_are_as_many_and_as_far_apart_as_is_set(
        self, make_app: AppMaker, alice: Person, mailbox: Mailbox
    ) -> None:
        tries = {"mail_attempts": 3, "mail_retry_interval_s": 700, "mail_interval_s": 0}
        app = make_app(smtp_host=mailbox.host, smtp_port=mailbox.port, **tries)
        mailbox.answer = "451 try again later"
        # Both are counted from the moment of the try.
        wait = select(PendingMail.due_at - PendingMail.quiet_until)
        for seconds in (700, 1_400):
            deliver(app)
            with app.app_context():
                assert db.session.scalar(wait) == timedelta(seconds=seconds)
            make_due(app)
        assert pending(app) == 1
        deliver(app)
        assert (mailbox.refused, pending(app)) == (3, 0)

    def test_links_are_good_for_as_long_as_is_set_and_say_so(
        self, make_app: AppMaker, alice: Person, mailbox: Mailbox
    ) -> None:
        # What a busy machine takes is a small part of days.
        lifetimes = {"password_reset_expires_in_s": "2d", "email_verification_expires_in_s": "5d"}
        app = make_app(smtp_host=mailbox.host, smtp_port=mailbox.port, **lifetimes)
        ask(app, alice.email)
        deliver(app)
        mailbox.wait(2)
        for purpose, subject, days in (
            (Purpose.RESET_PASSWORD, "new password", 2),
            (Purpose.VERIFY_EMAIL, "Confirm", 5),
        ):
            with app.app_context():
                expires = select(OneTimeToken.expires_at).where(OneTimeToken.purpose == purpose)
                left = db.session.scalars(expires).one() - datetime.now(UTC)
            assert left.total_seconds() == pytest.approx(days * 86_400, abs=600)
            [sent] = [each for each in mailbox.mails if subject in each["Subject"]]
            assert f"within {days * 24} hours" in sent.get_content()


class TestAskingForOneMailAfterAnother:
    """Nobody can flood a mailbox, or void the link that its owner has just got."""

    def test_too_soon_sends_none_says_the_same_and_leaves_the_link_good(
        self, posting: Flask, dora: Api, mailbox: Mailbox
    ) -> None:
        first = ask(posting)
        deliver(posting)
        token = token_in(mailbox.wait(2))
        assert ask(posting) == first
        deliver(posting)
        assert len(mailbox.mails) == 2
        fields = {"token": token, "password": NEW_PASSWORD}
        assert Api(posting).post("/api/auth/reset-password", fields).status_code == 200

    def test_many_at_once_send_one(self, posting: Flask, dora: Api, mailbox: Mailbox) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = set(pool.map(lambda _: ask(posting), range(16)))
        deliver(posting)
        assert (len(answers), len(mailbox.mails)) == (1, 2)

    def test_later_sends_another(self, posting: Flask, dora: Api, mailbox: Mailbox) -> None:
        forgotten(posting, mailbox)
        let_the_interval_pass(posting)
        assert forgotten(posting, mailbox)

    def test_the_setting_says_how_soon(self, make_app: AppMaker, posting: Flask, dora: Api, mailbox: Mailbox) -> None:
        known = posting.config["AUTOSTACK"]
        for interval_s, count in ((0, 2), (1000, 1)):
            app = make_app(smtp_host=known.smtp_host, smtp_port=known.smtp_port, mail_interval_s=interval_s)
            before = len(mailbox.mails)
            for _ in range(2):
                ask(app)
                deliver(app)
            assert len(mailbox.mails) == before + count
            let_the_interval_pass(app)

    def test_the_tries_of_one_mail_are_not_held_up(self, posting: Flask, dora: Api, mailbox: Mailbox) -> None:
        mailbox.answer = "451 try again later"
        ask(posting)
        deliver(posting)
        ask(posting)
        deliver(posting)
        assert (mailbox.refused, pending(posting)) == (1, 1)
        mailbox.answer = "250 OK"
        make_due(posting)
        deliver(posting)
        assert "new password" in mailbox.wait(2)["Subject"]
        deliver(posting)
        assert len(mailbox.mails) == 2

    def test_who_asks_later_does_not_wait_for_the_next_try(self, posting: Flask, dora: Api, mailbox: Mailbox) -> None:
        mailbox.answer = "451 try again later"
        ask(posting)
        deliver(posting)
        mailbox.answer = "250 OK"
        let_the_interval_pass(posting)
        ask(posting)
        deliver(posting)
        assert "new password" in mailbox.wait(2)["Subject"]
        assert pending(posting) == 0

    def test_who_asks_while_a_mail_is_handed_over_gets_another(
        self, posting: Flask, dora: Api, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send = mail.send

        def slowly(message: EmailMessage, known: Settings) -> None:
            monkeypatch.undo()
            let_the_interval_pass(posting)
            ask(posting)
            send(message, known)

        monkeypatch.setattr(mail, "send", slowly)
        ask(posting)
        deliver(posting)
        assert (len(mailbox.mails), pending(posting)) == (3, 0)

    def test_it_holds_for_the_link_that_confirms_an_address(self, posting: Flask, dora: Api, mailbox: Mailbox) -> None:
        assert dora.post("/api/auth/resend-verification").status_code == 200
        deliver(posting)
        assert len(mailbox.mails) == 1
        let_the_interval_pass(posting)
        dora.post("/api/auth/resend-verification")
        deliver(posting)
        secret = token_in(mailbox.wait(2))
        dora.post("/api/auth/resend-verification")
        deliver(posting)
        assert Api(posting).post("/api/auth/verify-email", {"token": secret}).status_code == 200
        assert len(mailbox.mails) == 2

    def test_an_address_without_an_account_is_treated_alike_and_forgotten(
        self, posting: Flask, dora: Api, mailbox: Mailbox
    ) -> None:
        for email in ("dora@example.com", "x@y.org"):
            ask(posting, email)
        deliver(posting)
        with posting.app_context():
            kept = db.session.execute(
                select(PendingMail.recipient, PendingMail.due_at, PendingMail.attempts).where(
                    PendingMail.purpose == "reset_password"
                )
            ).all()
        assert sorted(tuple(row) for row in kept) == [("dora@example.com", None, 1), ("x@y.org", None, 1)]
        let_the_interval_pass(posting)
        deliver(posting)
        with posting.app_context():
            assert db.session.scalar(select(func.count()).select_from(PendingMail)) == 0


def test_mails_are_sent_one_by_one_also_when_postgresql_believes_that_there_is_one(
    posting: Flask, dora: Api, mailbox: Mailbox
) -> None:
    with posting.app_context():
        db.session.execute(text("ANALYZE pending_mails"))
        db.session.commit()
    for number in range(3):
        ask(posting, f"{number}@example.org")
    ask(posting)
    deliver(posting)
    assert mailbox.wait(2)["To"] == "dora@example.com"
    assert pending(posting) == 0
