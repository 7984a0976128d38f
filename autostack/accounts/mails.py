"""The mails of accounts: what is asked for waits in PostgreSQL until an SMTP server has taken it.

A mail's link holds a secret, so it is made only as the mail is written; Redis and the queue never see it. Each try
makes a new one, which takes the place of the one before. Who asks again within MAIL_INTERVAL of the last try gets no
second mail, so that asking for others neither floods them nor voids the link that they have just got.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlencode

import structlog
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from autostack import mail
from autostack.accounts import one_time
from autostack.accounts.models import PendingMail, User
from autostack.accounts.one_time import Purpose
from autostack.extensions import db, settings
from autostack.queue import CONTROL, enqueue
from autostack.settings import Settings

log = structlog.stdlib.get_logger(__name__)

SEND_JOB = "autostack.accounts.jobs.send_mails"
# The wait doubles from try to try, but never beyond this.
MAX_WAIT_S = 3_600


@dataclass(frozen=True)
class Letter:
    """How the mail for a purpose reads. `{name}`, `{link}` and `{lifetime}` are filled in."""

    subject: str
    path: str
    text: str
    lifetime_s: Callable[[Settings], int]


LETTERS = {
    Purpose.RESET_PASSWORD: Letter(
        "Choose a new password",
        "/reset-password",
        "Hello {name},\n\nsomebody, probably you, asked for a new password for your Autostack account.\n"
        "Choose one within {lifetime}:\n\n{link}\n\n"
        "If it wasn't you, there is nothing to do: your password stays as it is.\n",
        lambda known: known.password_reset_expires_in_s,
    ),
    Purpose.VERIFY_EMAIL: Letter(
        "Confirm your e-mail address",
        "/verify-email",
        "Hello {name},\n\nwelcome to Autostack. Confirm that this address is yours within {lifetime}:\n\n{link}\n\n"
        "If you have no account with us, there is nothing to do.\n",
        lambda known: known.email_verification_expires_in_s,
    ),
}


def ask_for(purpose: Purpose, recipient: str) -> None:
    """Note within the caller's transaction that a mail is to be sent; `wake` after it was committed.

    Asked for too soon after the last one, or while one waits, there is no other. That is known of the address alone,
    whether or not it has an account.
    """
    asked = insert(PendingMail).values(purpose=purpose.value, recipient=recipient)
    again = asked.on_conflict_do_update(
        index_elements=["purpose", "recipient"],
        set_={"due_at": func.now(), "attempts": 0},
        where=PendingMail.quiet_until <= func.now(),
    )
    db.session.execute(again)


def wake() -> None:
    """Have the mails that are due sent now; without Redis the clock's next round does."""
    enqueue(CONTROL, SEND_JOB)


def send_due() -> None:
    """Send every mail that is due. What an SMTP server does not take is tried again later, up to MAIL_ATTEMPTS."""
    _forget_old()
    while pending := _claim():
        _send(pending)


def _claim() -> PendingMail | None:
    """Take the next mail for this try: the one after it is due later, should this process die."""
    due = select(PendingMail.id).where(PendingMail.due_at <= func.now()).order_by(PendingMail.due_at).limit(1)
    wait_s = func.least(settings().mail_retry_interval_s * func.power(2, PendingMail.attempts), MAX_WAIT_S)
    claim = (
        update(PendingMail)
        # Not IN: PostgreSQL may then ask for the one that is due anew for each row, and claim them all.
        .where(PendingMail.id == due.with_for_update(skip_locked=True).scalar_subquery())
        .values(
            attempts=PendingMail.attempts + 1,
            due_at=_in_seconds(wait_s),
            quiet_until=_in_seconds(settings().mail_interval_s),
        )
        .returning(PendingMail)
    )
    pending: PendingMail | None = db.session.scalar(claim)
    db.session.commit()
    return pending


def _send(pending: PendingMail) -> None:
    pending_id, attempts, purpose = pending.id, pending.attempts, Purpose(pending.purpose)
    user = db.session.scalar(select(User).where(User.email == pending.recipient, User.is_active))
    if user is None:
        _finish(pending_id, attempts)
        return
    message = _write(purpose, user)
    user_id = user.id
    # No transaction is open while a server far away takes its time.
    db.session.rollback()
    try:
        mail.send(message, settings())
    except mail.NotSent as error:
        given_up = error.is_final or attempts >= settings().mail_attempts
        log.log(
            logging.ERROR if given_up else logging.WARNING,
            "mail not sent",
            mail=purpose.value,
            user_id=str(user_id),
            attempt=attempts,
            error=str(error),
        )
        if not given_up:
            return
    else:
        log.info("mail sent", mail=purpose.value, user_id=str(user_id))
    _finish(pending_id, attempts)


def _write(purpose: Purpose, user: User) -> EmailMessage:
    letter, known = LETTERS[purpose], settings()
    lifetime_s = letter.lifetime_s(known)
    secret = one_time.issue(user.id, purpose, datetime.now(UTC) + timedelta(seconds=lifetime_s))
    link = f"{known.app_url.rstrip('/')}{letter.path}?{urlencode({'token': secret})}"
    text = letter.text.format(name=user.name, link=link, lifetime=_in_words(lifetime_s))
    return mail.compose(user.email, letter.subject, text, known)


def _finish(pending_id: uuid.UUID, attempts: int) -> None:
    """Have nothing more done for a mail, unless it was asked for anew since this try of it began."""
    this_one = (PendingMail.id == pending_id, PendingMail.attempts == attempts)
    db.session.execute(update(PendingMail).where(*this_one).values(due_at=None))
    db.session.commit()


def _forget_old() -> None:
    """Forget the mails that are done with, as soon as the next of their kind may follow."""
    db.session.execute(delete(PendingMail).where(PendingMail.due_at.is_(None), PendingMail.quiet_until <= func.now()))
    db.session.commit()


def _in_seconds(seconds: int | ColumnElement[Any]) -> ColumnElement[datetime]:
    """Return the time by the database's clock in so many seconds."""
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _in_words(seconds: int) -> str:
    for unit, length in (("hour", 3_600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"
