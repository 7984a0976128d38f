"""How much a project may send in a month (UTC), previews included, and what becomes of it then.

The proxies learn from one object of the store which projects are limited: see `autostack.proxy.limits`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

import structlog
from sqlalchemy import ColumnElement, ScalarSelect, Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from autostack.extensions import db, store
from autostack.projects.models import Project
from autostack.projects.service import ProjectNotFound, hold
from autostack.sites import keys
from autostack.sites.errors import ObjectNotFound
from autostack.sites.traffic import Limit, limits_to_json
from autostack.traffic.models import TrafficBudget, TrafficHour

log = structlog.stdlib.get_logger(__name__)

GB = 1_000_000_000
NEAR = 0.8
NO_LIMITS = limits_to_json({})


class Action(StrEnum):
    """What happens to a site whose budget is used up."""

    WARN = "warn"
    THROTTLE = "throttle"
    STOP = "stop"


class State(StrEnum):
    """How much of a budget is used: up to 80 percent, more, all."""

    WITHIN = "within"
    NEAR = "near"
    OVER = "over"


@dataclass(frozen=True)
class Budget:
    """A project's budget for the month, and what it has sent so far."""

    month_gb: int
    action: Action
    used_bytes: int

    @property
    def percent(self) -> int:
        """How much is used, rounded down."""
        return 100 * self.used_bytes // (self.month_gb * GB)

    @property
    def state(self) -> State:
        share = self.used_bytes / (self.month_gb * GB)
        return State.OVER if share >= 1 else State.NEAR if share >= NEAR else State.WITHIN


def budget_of(project: Project) -> Budget | None:
    """Return a project's budget, None if it has none."""
    found = db.session.execute(
        select(TrafficBudget.month_gb, TrafficBudget.action, _used()).where(TrafficBudget.project_id == project.id)
    ).one_or_none()
    return Budget(found[0], Action(found[1]), int(found[2])) if found else None


def used_bytes(project: Project) -> int:
    """Return what a project has sent this month, whether it has a budget or not."""
    return int(db.session.scalar(_sent().where(TrafficHour.project_id == project.id)) or 0)


def set_budget(project: Project, month_gb: int, action: Action) -> None:
    """Give a project a budget, instead of the one that it has. Proxies hear of it with the next sweep."""
    if hold(project.id) is None:
        raise ProjectNotFound("The project was deleted meanwhile.")
    values = {"month_gb": month_gb, "action": action.value}
    given = insert(TrafficBudget).values(project_id=project.id, **values)
    db.session.execute(given.on_conflict_do_update(index_elements=["project_id"], set_=values))
    db.session.commit()


def remove_budget(project: Project) -> None:
    """Let a project send as much as it is asked for."""
    db.session.execute(delete(TrafficBudget).where(TrafficBudget.project_id == project.id))
    db.session.commit()


def limits() -> dict[str, Limit]:
    """Return the projects that have used up their budget and are to be held to it."""
    held = select(TrafficBudget.project_id, TrafficBudget.action).where(TrafficBudget.action != Action.WARN)
    over = held.where(_used() >= TrafficBudget.month_gb * GB)
    return {str(project_id): Limit(action) for project_id, action in db.session.execute(over)}


def tell_proxies() -> None:
    """Have the store say which projects are limited. Proxies look there every few seconds."""
    wanted = limits_to_json(limits())
    # No connection of the pool waits with us for the store.
    db.session.commit()
    try:
        known = store().get(keys.TRAFFIC_LIMITS)
    except ObjectNotFound:
        known = NO_LIMITS
    if known != wanted:
        store().put(keys.TRAFFIC_LIMITS, wanted)
        log.info("projects limited", limits=wanted.decode())


def _used() -> ScalarSelect[int]:
    return _sent().where(TrafficHour.project_id == TrafficBudget.project_id).scalar_subquery()


def _sent() -> Select[int]:
    return select(func.coalesce(func.sum(TrafficHour.sent_bytes), 0)).where(TrafficHour.hour >= _month_begin())


def _month_begin() -> ColumnElement[dt.datetime]:
    return func.date_trunc("month", func.now())
