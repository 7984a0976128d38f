"""Blobs that no deployment names any more, found and deleted a page at a time.

Every manifest that is in the store counts, also those of deployments that were deleted but are still being shown, and
what builds under way have listed. What is younger than GC_MIN_AGE stays in any case.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

import structlog
from redis.exceptions import RedisError
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from autostack.deployments import leases
from autostack.deployments.models import Deployment
from autostack.deployments.status import IN_PROGRESS
from autostack.extensions import db, redis, settings, store
from autostack.hiding import table_of
from autostack.projects import removals
from autostack.projects.models import Collection, Project
from autostack.queue import CONTROL, enqueue_once
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.manifest import ManifestInvalid, hashes_in
from autostack.sites.store import Listed, Store

log = structlog.stdlib.get_logger(__name__)

JOB = "autostack.deployments.jobs.tidy_up"
# Other jobs have their turn after so long.
TURN_S = 20.0
# Projects whose last attempt did not end well, or has not ended: which one, and until when it is left alone.
PUT_OFF, PUT_OFF_S = "garbage:put-off", 3_600
# So many of a project's lists are read at a time, and so many are held until what they name is noted.
CONCURRENT_READS, READ_AT_ONCE = 16, 64


@dataclass(frozen=True, slots=True)
class Freed:
    """How much was, or would be, deleted."""

    objects: int = 0
    bytes: int = 0

    def __add__(self, other: Freed) -> Freed:
        return Freed(self.objects + other.objects, self.bytes + other.bytes)


def tell_queue() -> None:
    """Have a worker collect what is due."""
    enqueue_once(CONTROL, JOB)


def next_due() -> uuid.UUID | None:
    """Return a project whose garbage was not collected for GC_INTERVAL, if there is one; none while Redis is away."""
    try:
        put_off = cast(list[bytes], redis().zrangebyscore(PUT_OFF, time.time(), "+inf"))
    except RedisError:
        return None
    long_ago = func.now() - timedelta(seconds=settings().gc_interval_s)
    is_due = or_(Collection.ended_at.is_(None), Collection.ended_at < long_ago)
    waiting = select(Project.id).outerjoin(Collection, Collection.project_id == Project.id).where(is_due)
    waiting = waiting.where(Project.id.not_in([uuid.UUID(id.decode()) for id in put_off]))
    found: uuid.UUID | None = db.session.scalar(waiting.order_by(func.random()).limit(1))
    db.session.commit()
    return found


@contextlib.contextmanager
def attempt(project_id: uuid.UUID) -> Iterator[None]:
    """Try to tidy a project up. If that fails, or ends its worker, the others are due first for a while."""
    now = time.time()
    redis().zremrangebyscore(PUT_OFF, "-inf", now)
    redis().zadd(PUT_OFF, {str(project_id): now + PUT_OFF_S})
    yield
    redis().zrem(PUT_OFF, str(project_id))


def collect(project_id: uuid.UUID, turn_s: float = TURN_S) -> bool:
    """Delete a project's garbage for so long, from where the last turn ended; True if nothing is left. Commits."""
    give_up_at = time.monotonic() + turn_s
    walk = _Walk(project_id, *_begin(project_id))
    try:
        walk.begin()
        while walk.step():
            _note(walk)
            if time.monotonic() > give_up_at:
                return False
        walk.sweep_folders()
    except ManifestInvalid as error:
        # A manifest that nobody can read may name anything: nothing of its project is deleted.
        log.error("garbage not collected", project_id=str(project_id), reason=error.message)
    _end(walk)
    return True


def collect_all(project_id: uuid.UUID) -> Freed:
    """Delete all of a project's garbage now, from the beginning; return how much that was. Commits."""
    db.session.execute(update(Collection).where(Collection.project_id == project_id).values(cursor=""))
    db.session.commit()
    while not collect(project_id):
        pass
    found = db.session.get(Collection, project_id, populate_existing=True)
    return Freed(found.objects, found.bytes) if found else Freed()


def look(project_id: uuid.UUID) -> Freed:
    """Return what a collection from the beginning would free now; nothing is changed."""
    walk = _Walk(project_id, is_dry=True)
    walk.begin()
    while walk.step():
        pass
    walk.sweep_folders()
    return walk.freed


@dataclass
class _Named:
    """The hashes that a project's manifests, and the lists of its builds under way, name."""

    project_id: uuid.UUID
    _by_manifest: set[str] = field(default_factory=set)
    _listed: set[str] = field(default_factory=set)
    _read: set[str] = field(default_factory=set)
    # Lists of files that no build will come back to.
    left_over: list[Listed] = field(default_factory=list)
    deployments: dict[str, datetime] = field(default_factory=dict)

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._by_manifest or sha256 in self._listed

    def refresh(self) -> None:
        """Read what was not read yet. Manifests never change; lists may."""
        # Asked first: what ends afterwards has its manifest in the store by then.
        under_way = _under_way(self.project_id)
        self.left_over, self.deployments = [], {}
        manifests, lists = [], []
        for found in store().objects(f"{keys.project(str(self.project_id))}/deployments"):
            id, _, name = found.key.split("/deployments/")[1].partition("/")
            if not keys.is_id(id):
                continue
            self.deployments[id] = max(found.modified, self.deployments.get(id, found.modified))
            if name == "manifest.json":
                manifests.append(found.key)
            elif id in under_way:
                lists.append(found.key)
            else:
                self.left_over.append(found)
        unread = [key for key in manifests if key not in self._read]
        for named in _hashes_of(unread):
            self._by_manifest |= named
        self._read.update(unread)
        self._listed = set()
        for named in _hashes_of(lists):
            self._listed |= named


class _Walk:
    """One collection's way through a project's blobs."""

    def __init__(
        self, project_id: uuid.UUID, cursor: str = "", freed: Freed | None = None, *, is_dry: bool = False
    ) -> None:
        self.project_id = project_id
        self.cursor = cursor
        self.freed = freed or Freed()
        self._is_dry = is_dry
        self._folder = keys.blobs(str(project_id))
        self._before = datetime.now(UTC) - timedelta(seconds=settings().gc_min_age_s)
        self._named = _Named(project_id)

    def begin(self) -> None:
        """Learn what is needed. Raises ManifestInvalid."""
        self._named.refresh()

    def step(self) -> bool:
        """Look at the next page of blobs, delete what is garbage. False if there are no more."""
        page = store().next_objects(self._folder, f"{self._folder}/{self.cursor}" if self.cursor else "")
        if not page:
            return False
        garbage = self._garbage(page)
        if garbage and not self._is_dry:
            leases.wait_for_looks(self.project_id)
            with leases.lease(self.project_id) as lease:
                # Builds may have begun to count on some of it just before.
                self._named.refresh()
                garbage = self._garbage(garbage)
                lease.begin()
                _delete(garbage)
        self._count(garbage)
        self.cursor = page[-1].key.rpartition("/")[2]
        return True

    def sweep_folders(self) -> None:
        """Delete lists that were left over, and have folders removed of deployments that nobody knows."""
        left_over = [found for found in self._named.left_over if found.modified < self._before]
        if not self._is_dry:
            _delete(left_over)
            self._end_unfinished()
            self._remove_unknown()
        self._count(left_over)

    def _end_unfinished(self) -> None:
        try:
            # Of blobs and of caches alike.
            store().end_unfinished(keys.project(str(self.project_id)), self._before)
        except StoreUnavailable as error:
            # Not every S3 knows them, nor lets us list them; a rule of the bucket's ends them as well.
            log.warning("unfinished uploads not ended", project_id=str(self.project_id), reason=error.message)

    def _remove_unknown(self) -> None:
        # A build that was cut off may write once more after its deployment was deleted and removed.
        old = {id for id, modified in self._named.deployments.items() if modified < self._before}
        deployments = table_of(Deployment)
        known = select(deployments.c.id).where(deployments.c.id.in_([uuid.UUID(id) for id in old]))
        unknown = old - {str(id) for id in db.session.scalars(known)}
        prefixes = {keys.deployment(str(self.project_id), id) for id in unknown} - set(removals.planned())
        for prefix in sorted(prefixes):
            removals.plan(prefix)
        db.session.commit()
        if prefixes:
            removals.tell_queue()

    def _garbage(self, blobs: Iterable[Listed]) -> list[Listed]:
        return [blob for blob in blobs if blob.modified < self._before and _hash(blob) not in self._named]

    def _count(self, deleted: list[Listed]) -> None:
        self.freed += Freed(len(deleted), sum(found.size for found in deleted))


def _delete(objects: list[Listed]) -> None:
    if objects:
        store().delete([found.key for found in objects])


def _hash(blob: Listed) -> str:
    return blob.key.rpartition("/")[2]


def _hashes_of(names: list[str]) -> Iterator[set[str]]:
    """Yield what each of these lists names, many read at a time. Raises ManifestInvalid."""
    for first in range(0, len(names), READ_AT_ONCE):
        with ThreadPoolExecutor(CONCURRENT_READS) as pool:
            yield from pool.map(partial(_hashes, store()), names[first : first + READ_AT_ONCE])


def _hashes(store: Store, key: str) -> set[str]:
    try:
        return hashes_in(store.get(key))
    except ObjectNotFound:
        # Removed since it was listed: no route leads there.
        return set()


def _under_way(project_id: uuid.UUID) -> set[str]:
    under_way = select(Deployment.id).where(Deployment.project_id == project_id, Deployment.status.in_(IN_PROGRESS))
    found = {str(id) for id in db.session.scalars(under_way)}
    db.session.commit()
    return found


def _begin(project_id: uuid.UUID) -> tuple[str, Freed]:
    """Return where the last turn ended, and what this collection has freed so far."""
    row = db.session.get(Collection, project_id, populate_existing=True)
    begun = (row.cursor, Freed(row.objects, row.bytes)) if row and row.cursor else ("", Freed())
    db.session.commit()
    return begun


def _note(walk: _Walk) -> None:
    _write(walk, cursor=walk.cursor)


def _end(walk: _Walk) -> None:
    _write(walk, cursor="", ended_at=func.now())
    if walk.freed.objects:
        log.info(
            "garbage collected",
            project_id=str(walk.project_id),
            objects=walk.freed.objects,
            bytes=walk.freed.bytes,
        )


def _write(walk: _Walk, **values: object) -> None:
    values = {"objects": walk.freed.objects, "bytes": walk.freed.bytes, **values}
    # A project that was deleted meanwhile has no row to be written for.
    known = select(Project.id.label("project_id")).where(Project.id == walk.project_id)
    first = insert(Collection).from_select(["project_id"], known).on_conflict_do_nothing()
    db.session.execute(first)
    row = db.session.get(Collection, walk.project_id)
    if row is not None:
        for name, value in values.items():
            setattr(row, name, value)
    db.session.commit()
