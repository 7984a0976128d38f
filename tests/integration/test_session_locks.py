"""Locks that are held for longer than a transaction should be open."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from autostack.database import _is_locked, session_lock
from autostack.extensions import db

NUMBER = 7_306_999
HOLDER = text(
    "SELECT a.pid, a.state FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.objid = :number AND l.granted"
)


@pytest.fixture
def in_app(app):
    with app.app_context():
        yield


def holder():
    found = db.session.execute(HOLDER, {"number": NUMBER}).one_or_none()
    db.session.rollback()
    return found


@pytest.mark.usefixtures("in_app")
def test_one_at_a_time_has_a_lock_and_holds_no_transaction_open_for_it():
    with session_lock(NUMBER, waits=False) as first, session_lock(NUMBER, waits=False) as second:
        assert (first, second) == (True, False)
        assert holder().state == "idle"
    assert holder() is None


@pytest.mark.usefixtures("in_app")
def test_a_lock_is_given_back_whatever_happens():
    with pytest.raises(ZeroDivisionError), session_lock(NUMBER, waits=False):
        raise ZeroDivisionError
    assert holder() is None


@pytest.mark.usefixtures("in_app")
def test_a_lock_whose_session_was_lost_can_be_taken_again():
    with session_lock(NUMBER, waits=False):
        db.session.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": holder().pid})
        db.session.rollback()
    for _ in range(2):
        with session_lock(NUMBER, waits=True) as is_ours:
            assert is_ours


@pytest.mark.usefixtures("in_app")
def test_who_waits_for_a_lock_does_not_wait_without_end():
    with session_lock(NUMBER, waits=False), db.engine.connect() as other:
        other.execute(text("SET LOCAL lock_timeout = '10ms'"))
        assert not _is_locked(other, NUMBER, waits=True)
