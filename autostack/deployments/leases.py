"""A project's blobs while some are being deleted, and a build that asks which of them are there.

Nobody waits with a lock while the store works. Whoever deletes takes a lease on the project for that short while, which
gives it a new epoch. Whoever looks does so between two looks at the epoch: if it is another one, what was seen may be
gone, and it looks again. A build keeps its list of files before it looks, so that later collections know what it needs.
A lease under which a deletion failed is not given back: the store may still carry it out, but not after the lease.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

from redis.exceptions import RedisError
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from autostack.errors import Unavailable
from autostack.extensions import db, redis
from autostack.projects.models import Collection

# Deleting begins well before a lease ends: a request to the store is given up long before the rest is over.
LEASE_S, BEGIN_WITHIN_S = 180, 60
LOOKS = 3
# How long whoever deletes waits for a look that was in vain: well beyond the pause after which an agent asks again.
WAIT_FOR_LOOK_S, POLL_S = 15, 0.1

T = TypeVar("T")


class Lease:
    """The right to delete a project's blobs for a while."""

    def __init__(self) -> None:
        self._begin_until = time.monotonic() + BEGIN_WITHIN_S
        self.has_begun = False

    def begin(self) -> None:
        """Say that deleting begins now. Raises Unavailable if it is too late for that."""
        if time.monotonic() > self._begin_until:
            raise Unavailable("It took too long to learn which files are garbage.")
        self.has_begun = True


@contextlib.contextmanager
def lease(project_id: uuid.UUID) -> Iterator[Lease]:
    """Hold a project's lease, committing before and after. Raises Unavailable if another has it."""
    taken = Lease()
    epoch = _claim(project_id)
    try:
        yield taken
    except BaseException:
        if not taken.has_begun:
            _give_back(project_id, epoch)
        raise
    _give_back(project_id, epoch)


def has_been_leased_since(project_id: uuid.UUID, moment: datetime) -> bool:
    """Tell whether a lease on the project ended after that moment of PostgreSQL's clock, or has not ended."""
    ended = select(Collection.leased_until >= moment).where(Collection.project_id == project_id)
    found = bool(db.session.scalar(ended))
    db.session.commit()
    return found


def undisturbed(project_id: uuid.UUID, look: Callable[[], T], patience_s: float = 0) -> T:
    """Return what `look` finds while no blobs of the project are deleted, which it waits for as long as `patience_s`.

    Raises Unavailable: to be asked again. Whoever deletes leaves it the time for that: many blobs are deleted in a row,
    and a look may take long.
    """
    give_up_at = time.monotonic() + patience_s
    for _ in range(LOOKS):
        before = _epoch_at_rest(project_id, give_up_at)
        found = look()
        if _epoch(project_id) == before:
            _note_look(project_id, is_over=True)
            return found
        _note_look(project_id, is_over=False)
    raise _busy()


def wait_for_looks(project_id: uuid.UUID) -> None:
    """Return once no look waits for deleting to pause, or after a while."""
    give_up_at = time.monotonic() + WAIT_FOR_LOOK_S
    with contextlib.suppress(RedisError):
        while redis().exists(_mark(project_id)) and time.monotonic() < give_up_at:
            time.sleep(POLL_S)


def _mark(project_id: uuid.UUID) -> str:
    return f"garbage:awaited:{project_id}"


def _note_look(project_id: uuid.UUID, *, is_over: bool) -> None:
    # Without Redis nobody collects garbage for long.
    with contextlib.suppress(RedisError):
        if is_over:
            redis().delete(_mark(project_id))
        else:
            redis().set(_mark(project_id), b"", ex=WAIT_FOR_LOOK_S)


def _give_back(project_id: uuid.UUID, epoch: int) -> None:
    db.session.rollback()
    mine = update(Collection).where(Collection.project_id == project_id, Collection.epoch == epoch)
    db.session.execute(mine.values(leased_until=func.clock_timestamp()))
    db.session.commit()


def _claim(project_id: uuid.UUID) -> int:
    until = func.clock_timestamp() + text(f"interval '{LEASE_S} seconds'")
    claim = insert(Collection).values(project_id=project_id, epoch=1, leased_until=until)
    claim = claim.on_conflict_do_update(
        index_elements=[Collection.project_id],
        set_={"epoch": Collection.epoch + 1, "leased_until": until},
        where=or_(Collection.leased_until.is_(None), Collection.leased_until <= func.clock_timestamp()),
    )
    try:
        epoch: int | None = db.session.scalar(claim.returning(Collection.epoch))
    except IntegrityError:
        # The project is gone.
        epoch = None
    if epoch is None:
        db.session.rollback()
        raise _busy()
    db.session.commit()
    return epoch


def _epoch(project_id: uuid.UUID) -> int | None:
    """Return the project's epoch, None while blobs are deleted."""
    # The transaction may have begun before the lease ended.
    is_held = Collection.leased_until > func.clock_timestamp()
    known = select(Collection.epoch, is_held).where(Collection.project_id == project_id)
    epoch, is_leased = db.session.execute(known).one_or_none() or (0, False)
    db.session.commit()
    return None if is_leased else int(epoch)


def _epoch_at_rest(project_id: uuid.UUID, give_up_at: float) -> int:
    while (epoch := _epoch(project_id)) is None:
        _note_look(project_id, is_over=False)
        if time.monotonic() > give_up_at:
            raise _busy()
        time.sleep(POLL_S)
    return epoch


def _busy() -> Unavailable:
    return Unavailable("Old files of the project are being deleted. Ask again in a moment.")
