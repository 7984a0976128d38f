"""A deployment's log: numbered without gaps, written in bulk, read by number."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, select, update

from autostack.deployments import ansi, events
from autostack.deployments.models import Deployment, DeploymentLog
from autostack.deployments.status import LogLevel
from autostack.extensions import db

PAGE = 1_000
MAX_LINE_CHARACTERS = 12_000


@dataclass(frozen=True, slots=True)
class Line:
    """A line on its way in. `elapsed_ms` counts from the deployment's start."""

    text: str
    elapsed_ms: int = 0
    level: LogLevel = LogLevel.INFO

    @property
    def size(self) -> int:
        """Its bytes, with the end of the line."""
        return len(self.text.encode()) + 1


def within(lines: Sequence[Line], size: int) -> list[Line]:
    """Return the first lines that together have at most `size` bytes."""
    sizes = itertools.accumulate(line.size for line in lines)
    return [line for line, total in zip(lines, sizes, strict=True) if total <= size]


def append(deployment_id: uuid.UUID, lines: Sequence[Line]) -> int:
    """Add lines to the log and return the last number. The row's lock orders writers; the caller commits.

    What is said to a deployment that was deleted meanwhile is lost, and 0 returned.
    """
    if not lines:
        return 0
    grown = (
        update(Deployment)
        .where(Deployment.id == deployment_id)
        .values(
            log_lines=Deployment.log_lines + len(lines),
            log_bytes=Deployment.log_bytes + sum(line.size for line in lines),
        )
        .returning(Deployment.log_lines, func.coalesce(Deployment.started_at, func.now()))
    )
    found = db.session.execute(grown).one_or_none()
    if found is None:
        return 0
    last, started_at = found
    first = last - len(lines) + 1
    rows = [_row(deployment_id, first + offset, line, started_at) for offset, line in enumerate(lines)]
    db.session.execute(insert(DeploymentLog), rows)
    events.changed(deployment_id)
    return int(last)


def say(deployment: Deployment, text: str, level: LogLevel = LogLevel.INFO) -> None:
    """Add a line of our own, at the present time. The caller commits."""
    started_at = deployment.started_at
    elapsed_ms = int((datetime.now(UTC) - started_at).total_seconds() * 1000) if started_at else 0
    append(deployment.id, [Line(text, max(elapsed_ms, 0), level)])


def page(deployment_id: uuid.UUID, after: int = 0, limit: int = PAGE) -> list[DeploymentLog]:
    """Return up to `limit` lines that follow number `after`."""
    lines = select(DeploymentLog).where(DeploymentLog.deployment_id == deployment_id, DeploymentLog.seq > after)
    return list(db.session.scalars(lines.order_by(DeploymentLog.seq).limit(limit)))


def tail(deployment_id: uuid.UUID, limit: int) -> list[DeploymentLog]:
    """Return the last `limit` lines, oldest first."""
    lines = select(DeploymentLog).where(DeploymentLog.deployment_id == deployment_id)
    return list(db.session.scalars(lines.order_by(DeploymentLog.seq.desc()).limit(limit)))[::-1]


def lines_with(deployment_id: uuid.UUID, text: str, limit: int) -> list[int]:
    """Return the numbers of the first `limit` lines that say `text`, in whatever case, their colours left out."""
    plain = func.regexp_replace(DeploymentLog.message, ansi.SGR.pattern, "", "g")
    said = func.substr(plain, func.strpos(plain, " ") + 1)
    found = select(DeploymentLog.seq).where(DeploymentLog.deployment_id == deployment_id)
    found = found.where(said.icontains(text, autoescape=True)).order_by(DeploymentLog.seq)
    return list(db.session.scalars(found.limit(limit)))


def numbered(deployment_id: uuid.UUID, numbers: Sequence[int]) -> list[DeploymentLog]:
    """Return the lines with these numbers, in order."""
    lines = select(DeploymentLog).where(DeploymentLog.deployment_id == deployment_id, DeploymentLog.seq.in_(numbers))
    return list(db.session.scalars(lines.order_by(DeploymentLog.seq)))


def as_text(deployment_id: uuid.UUID) -> Iterator[str]:
    """Yield the whole log as plain lines, a page at a time."""
    after = 0
    while lines := page(deployment_id, after):
        after = lines[-1].seq
        text = "".join(f"{ansi.plain(line.message)}\n" for line in lines)
        # A client that reads slowly must not keep a connection of the pool.
        db.session.rollback()
        yield text


def _row(deployment_id: uuid.UUID, seq: int, line: Line, started_at: datetime) -> dict[str, object]:
    minutes, seconds = divmod(line.elapsed_ms // 1000, 60)
    return {
        "deployment_id": deployment_id,
        "seq": seq,
        "timestamp": started_at + timedelta(milliseconds=line.elapsed_ms),
        "log_level": line.level,
        "message": f"[{minutes:02}:{seconds:02}] {line.text[:MAX_LINE_CHARACTERS]}",
    }
