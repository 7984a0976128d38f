"""Tokens that GitHub is to take back, because nobody here uses them any more: carried out by a job, tried for hours.

What GitHub has not taken back by then its user can: our side is done.
"""

from __future__ import annotations

import logging

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import delete, exists, func, select, update

from autostack.accounts.models import TokenRevocation
from autostack.accounts.providers import GitHub, Provider, ProviderTrouble, configured
from autostack.encryption import Cipher
from autostack.extensions import db, settings
from autostack.queue import CONTROL, enqueue

log = structlog.stdlib.get_logger(__name__)

JOB = "autostack.github.jobs.revoke_tokens"
# The wait doubles from try to try, but never beyond the latter.
FIRST_WAIT_S, MAX_WAIT_S = 30, 3_600
# With waits of up to an hour: a working day.
ATTEMPTS = 16


def plan(access_token: str) -> None:
    """Have a token, as it is stored, taken back; within the caller's transaction: `tell_queue` after its commit."""
    db.session.add(TokenRevocation(access_token=access_token))


def tell_queue() -> None:
    """Have a worker carry out what is planned. If Redis does not take it, or forgets it, the sweep tells it again."""
    enqueue(CONTROL, JOB)


def are_due() -> bool:
    """Tell whether there is a token to take back."""
    return bool(db.session.scalar(select(exists().where(TokenRevocation.due_at <= func.now()))))


def carry_out() -> None:
    """Have GitHub take back each token that is due. Once it gives no answer, the others wait for the next round."""
    while revocation := _claim():
        if not _carry_out(revocation):
            return


def _claim() -> TokenRevocation | None:
    """Take the next one for this try: the one after it is due later, should this process die."""
    due = select(TokenRevocation.id).where(TokenRevocation.due_at <= func.now()).order_by(TokenRevocation.due_at)
    wait_s = func.least(FIRST_WAIT_S * func.power(2, TokenRevocation.attempts), MAX_WAIT_S)
    claim = (
        update(TokenRevocation)
        # Not IN: PostgreSQL may then ask for the one that is due anew for each row, and claim them all.
        .where(TokenRevocation.id == due.limit(1).with_for_update(skip_locked=True).scalar_subquery())
        .values(
            attempts=TokenRevocation.attempts + 1,
            due_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, wait_s),
        )
        .returning(TokenRevocation)
    )
    claimed: TokenRevocation | None = db.session.scalar(claim)
    db.session.commit()
    return claimed


def _carry_out(revocation: TokenRevocation) -> bool:
    """Try once, and forget what is done or given up. False if GitHub does not do it."""
    id, attempts, stored = revocation.id, revocation.attempts, revocation.access_token
    # No transaction is open while a server far away takes its time.
    db.session.rollback()
    done = _revoke(stored)
    if not done:
        given_up = attempts >= ATTEMPTS
        level = logging.ERROR if given_up else logging.WARNING
        log.log(level, "GitHub keeps a token that is used no more", attempt=attempts, given_up=given_up)
        if not given_up:
            return False
    db.session.execute(delete(TokenRevocation).where(TokenRevocation.id == id))
    db.session.commit()
    return done


def _revoke(stored: str) -> bool:
    if Provider.GITHUB not in configured(settings()):
        return True
    try:
        GitHub(settings()).revoke(Cipher.of(settings()).decrypt(stored))
    except InvalidToken:
        # Its key is gone: the token is lost to us.
        log.warning("a token cannot be taken back, for its key is gone")
    except ProviderTrouble:
        return False
    return True
