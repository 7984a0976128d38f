"""From what the proxies sent to rows: each batch counts once, whatever dies on the way.

A batch's id is a row of the same transaction as its counts. Only then does the batch leave Redis or the store, so that
one whose gatherer died in between is met again, and known.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, cast

import structlog
from redis.exceptions import RedisError
from sqlalchemy import ColumnElement, Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from autostack.database import delete_some
from autostack.extensions import db, redis, settings, store
from autostack.hiding import table_of
from autostack.projects.models import Project
from autostack.sites import keys, traffic
from autostack.sites.errors import ObjectNotFound
from autostack.sites.traffic import Batch, Kind, SiteTraffic, TrafficInvalid
from autostack.sites.visitors import Visitors
from autostack.traffic.models import TrafficBatch, TrafficHour, TrafficName, TrafficVisitors

log = structlog.stdlib.get_logger(__name__)

BATCHES_AT_ONCE = 200
ROWS_AT_ONCE = 10_000
# A sweep has other things to do, too: what is left is the next one's.
ROUNDS = 20
# Of a day's pages, files, missing paths and referrers; more are cut off once there are twice as many.
NAMES_KEPT = 200
BATCH_IDS_KEPT = dt.timedelta(days=7)
# A clock that is slow may still count with yesterday's.
SALTS_KEPT = dt.timedelta(days=1)
COUNTS = ("requests", "sent_bytes", "succeeded", "redirected", "refused", "failed")

_Hour = tuple[uuid.UUID, dt.datetime, bool]
_Day = tuple[uuid.UUID, dt.date]


def gather() -> None:
    """Count what the proxies sent. One at a time: the sweep holds its lock."""
    for _ in range(ROUNDS):
        if _gather_from_redis() < BATCHES_AT_ONCE:
            break
    for _ in range(ROUNDS):
        if _gather_from_store() < BATCHES_AT_ONCE:
            break


def forget_old() -> None:
    """Delete what is older than TRAFFIC_RETENTION, the ids of batches that cannot arrive any more, and past salts."""
    now = dt.datetime.now(dt.UTC)
    oldest = now - dt.timedelta(days=settings().traffic_retention_days)
    _forget(TrafficHour, TrafficHour.hour < oldest)
    _forget(TrafficVisitors, TrafficVisitors.day < oldest.date())
    _forget(TrafficName, TrafficName.day < oldest.date())
    _forget(TrafficBatch, TrafficBatch.created_at < now - BATCH_IDS_KEPT)
    store().delete([name for name in store().names(keys.TRAFFIC_SALTS) if _is_past(name, now.date() - SALTS_KEPT)])


def _forget(model: type[Any], is_old: ColumnElement[bool]) -> None:
    # A day of many projects, or all that a shorter time leaves over, is more than one statement may take.
    for _ in range(ROUNDS):
        gone = delete_some(table_of(model), is_old, ROWS_AT_ONCE)
        db.session.commit()
        if gone < ROWS_AT_ONCE:
            break


def _is_past(name: str, oldest: dt.date) -> bool:
    return name.rpartition("/")[2] < oldest.isoformat()


def _gather_from_redis() -> int:
    try:
        found = cast(list[bytes], redis().lrange(traffic.LIST, 0, BATCHES_AT_ONCE - 1))
        count(_readable(found))
        _take_away(found)
    except RedisError as error:
        log.warning("traffic: Redis is away", error=str(error))
        return 0
    return len(found)


def _take_away(batches: Iterable[bytes]) -> None:
    # Each by its value: the client sends this again where a connection was lost before the answer, and to cut off as
    # many once more would lose those that came behind.
    with redis().pipeline(transaction=False) as removal:
        for one in batches:
            # Its types know of text only.
            removal.lrem(traffic.LIST, 1, cast(str, one))
        removal.execute()


def _gather_from_store() -> int:
    names = [listed for listed, _ in zip(store().names(keys.TRAFFIC_BATCHES), range(BATCHES_AT_ONCE), strict=False)]
    data = []
    for name in names:
        try:
            data.append(store().get(name))
        except ObjectNotFound:
            log.warning("traffic: a batch is gone", name=name)
    count(_readable(data))
    store().delete(names)
    return len(names)


def _readable(data: Iterable[bytes]) -> list[Batch]:
    batches = []
    for one in data:
        try:
            batches.append(Batch.from_json(one))
        except TrafficInvalid as error:
            log.error("traffic: a batch is damaged", error=error.message)
    return batches


def count(batches: Sequence[Batch]) -> None:
    """Add those batches that were not counted before. Commits."""
    new = _claim(batches)
    if new:
        existing = _existing({uuid.UUID(site.project_id) for batch in new for site in batch.sites})
        parts = [(batch, site) for batch in new for site in batch.sites if uuid.UUID(site.project_id) in existing]
        _add_hours(parts)
        _add_visitors(parts)
        _add_names(parts)
    db.session.commit()


def _claim(batches: Sequence[Batch]) -> list[Batch]:
    """Write down the batches' ids; return those that were not there, each once."""
    by_id = {uuid.UUID(batch.id): batch for batch in batches}
    if not by_id:
        return []
    claim = insert(TrafficBatch).values([{"id": id} for id in sorted(by_id)]).on_conflict_do_nothing()
    return [by_id[id] for id in db.session.scalars(claim.returning(TrafficBatch.id))]


def _existing(ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of the projects are there, and will be until this transaction ends."""
    there = select(Project.id).where(Project.id.in_(list(ids))).order_by(Project.id)
    return set(db.session.scalars(there.with_for_update(read=True, key_share=True)))


def _add_hours(parts: Sequence[tuple[Batch, SiteTraffic]]) -> None:
    sums: defaultdict[_Hour, list[int]] = defaultdict(lambda: [0] * len(COUNTS))
    for batch, site in parts:
        key = (uuid.UUID(site.project_id), batch.hour, site.is_preview)
        added = (site.requests, site.sent_bytes, *(site.statuses.get(digit, 0) for digit in (2, 3, 4, 5)))
        sums[key] = [before + more for before, more in zip(sums[key], added, strict=True)]
    rows = [
        {"project_id": id, "hour": hour, "is_preview": is_preview, **dict(zip(COUNTS, counts, strict=True))}
        for (id, hour, is_preview), counts in sorted(sums.items())
    ]
    _add_up(TrafficHour, rows, COUNTS)


def _add_names(parts: Sequence[tuple[Batch, SiteTraffic]]) -> None:
    sums: defaultdict[tuple[uuid.UUID, dt.date, Kind, str], int] = defaultdict(int)
    for batch, site in parts:
        for kind, names in site.top.items():
            for name, times in names.items():
                sums[uuid.UUID(site.project_id), batch.hour.date(), kind, name] += times
    rows = [
        {"project_id": id, "day": day, "kind": kind.value, "name": name, "requests": times}
        for (id, day, kind, name), times in sorted(sums.items())
    ]
    _add_up(TrafficName, rows, ("requests",))
    for id, day in sorted({(id, day) for id, day, _, _ in sums}):
        _cut_names(id, day)


def _cut_names(project_id: uuid.UUID, day: dt.date) -> None:
    """Keep the most frequent names, where there are more than twice as many."""
    here = (TrafficName.project_id == project_id, TrafficName.day == day)
    many = select(TrafficName.kind).where(*here).group_by(TrafficName.kind).having(func.count() > 2 * NAMES_KEPT)
    for kind in db.session.scalars(many).all():
        mine = (*here, TrafficName.kind == kind)
        kept = select(TrafficName.name).where(*mine).order_by(TrafficName.requests.desc(), TrafficName.name)
        db.session.execute(delete(TrafficName).where(*mine, TrafficName.name.not_in(kept.limit(NAMES_KEPT))))


def _add_visitors(parts: Sequence[tuple[Batch, SiteTraffic]]) -> None:
    merged: dict[_Day, Visitors] = {}
    for batch, site in parts:
        if site.visitors:
            _merge(merged, (uuid.UUID(site.project_id), batch.hour.date()), site.visitors)
    for row in _known_visitors(merged):
        _merge(merged, (row.project_id, row.day), row.registers)
    rows = [
        {"project_id": id, "day": day, "registers": visitors.to_bytes(), "estimate": visitors.estimate()}
        for (id, day), visitors in sorted(merged.items())
    ]
    for part in _portions(rows):
        added = insert(TrafficVisitors).values(part)
        new = {name: added.excluded[name] for name in ("registers", "estimate")}
        db.session.execute(added.on_conflict_do_update(index_elements=["project_id", "day"], set_=new))


def _merge(merged: dict[_Day, Visitors], key: _Day, registers: bytes) -> None:
    try:
        more = Visitors.from_bytes(registers)
    except ValueError:
        log.error("traffic: visitors are damaged", project_id=str(key[0]))
        return
    merged.setdefault(key, Visitors()).merge(more)


def _known_visitors(days: Iterable[_Day]) -> Sequence[Row[uuid.UUID, dt.date, bytes]]:
    """Return what was counted of these days before."""
    wanted = list(days)
    ids, dates = {id for id, _ in wanted}, {day for _, day in wanted}
    columns = select(TrafficVisitors.project_id, TrafficVisitors.day, TrafficVisitors.registers)
    known = columns.where(TrafficVisitors.project_id.in_(ids), TrafficVisitors.day.in_(dates))
    return [row for row in db.session.execute(known) if (row.project_id, row.day) in set(wanted)]


def _add_up(
    table: type[TrafficHour] | type[TrafficName], rows: Sequence[dict[str, Any]], counts: Sequence[str]
) -> None:
    """Insert rows, or add their counts to those that are there."""
    keys_of = [column.name for column in table.__table__.primary_key]
    for part in _portions(rows):
        added = insert(table).values(part)
        sums = {name: getattr(table, name) + added.excluded[name] for name in counts}
        db.session.execute(added.on_conflict_do_update(index_elements=keys_of, set_=sums))


def _portions(rows: Sequence[dict[str, Any]], size: int = 1_000) -> Iterable[Sequence[dict[str, Any]]]:
    # PostgreSQL takes 65,535 parameters in a statement.
    return (rows[start : start + size] for start in range(0, len(rows), size))
