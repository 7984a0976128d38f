"""The mails of accounts: what is asked for waits in PostgreSQL until an SMTP server has taken it.

A mail's link holds a secret, so it is made only as the mail is written; Redis and the queue never see it. Each try
makes a new one, which takes the place of the one before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from urllib.parse import urlencode

import structlog
from sqlalchemy import delete, func, select, update

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
    """Note within the caller's transaction that a mail is to be sent; `wake` after it was committed."""
    db.session.add(PendingMail(purpose=purpose.value, recipient=recipient))


def wake() -> None:
    """Have the mails that are due sent now; without Redis the clock's next round does."""
    enqueue(CONTROL, SEND_JOB)


def send_due() -> None:
    """Send every mail that is due. What an SMTP server does not take is tried again later, up to MAIL_ATTEMPTS."""
    while pending := _claim():
        _send(pending)


def _claim() -> PendingMail | None:
    """Take the next mail for this try: the one after it is due later, should this process die."""
    due = select(PendingMail.id).where(PendingMail.due_at <= func.now()).order_by(PendingMail.due_at).limit(1)
    wait_s = func.least(settings().mail_retry_interval_s * func.power(2, PendingMail.attempts), MAX_WAIT_S)
    claim = (
        update(PendingMail)
        .where(PendingMail.id.in_(due.with_for_update(skip_locked=True)))
        .values(attempts=PendingMail.attempts + 1, due_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, wait_s))
        .returning(PendingMail)
    )
    pending: PendingMail | None = db.session.scalar(claim)
    db.session.commit()
    return pending


def _send(pending: PendingMail) -> None:
    pending_id, attempts, purpose = pending.id, pending.attempts, Purpose(pending.purpose)
    user = db.session.scalar(select(User).where(User.email == pending.recipient, User.is_active))
    if user is None:
        _forget(pending_id)
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
    _forget(pending_id)


def _write(purpose: Purpose, user: User) -> EmailMessage:
    letter, known = LETTERS[purpose], settings()
    lifetime_s = letter.lifetime_s(known)
    secret = one_time.issue(user.id, purpose, datetime.now(UTC) + timedelta(seconds=lifetime_s))
    link = f"{known.app_url.rstrip('/')}{letter.path}?{urlencode({'token': secret})}"
    text = letter.text.format(name=user.name, link=link, lifetime=_in_words(lifetime_s))
    return mail.compose(user.email, letter.subject, text, known)


def _forget(pending_id: object) -> None:
    db.session.execute(delete(PendingMail).where(PendingMail.id == pending_id))
    db.session.commit()


def _in_words(seconds: int) -> str:
    for unit, length in (("hour", 3_600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"
