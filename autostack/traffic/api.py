"""The JSON API of traffic."""

from __future__ import annotations

import uuid

from flask import Blueprint

from autostack.projects.access import require_project
from autostack.projects.service import ProjectNotFound
from autostack.traffic import budgets, service
from autostack.traffic.schemas import BudgetIn, TrafficIn, TrafficOut
from autostack.web.access import signed_in
from autostack.web.operations import operation

api = Blueprint("traffic_api", __name__, url_prefix="/api/projects/<uuid:id>/traffic")


@api.get("")
@signed_in
@operation(raises=[ProjectNotFound])
def show(id: uuid.UUID, query: TrafficIn) -> TrafficOut:
    """Show what a project's site is asked for.

    Counted by the proxy, without cookies. The counts of the last half minute may be missing.
    """
    project = require_project(id)
    traffic = service.traffic_of(project, query.days)
    return TrafficOut.of(traffic, budgets.budget_of(project), budgets.used_bytes(project))


@api.put("/budget")
@signed_in
@operation(raises=[ProjectNotFound])
def set_budget(id: uuid.UUID, body: BudgetIn) -> None:
    """Limit how much a project's sites may send in a month.

    Once that is used up, the owner is warned, the sites answer slowly (429), or not at all (402), until the month ends.
    """
    budgets.set_budget(require_project(id), body.month_gb, body.action)


@api.delete("/budget")
@signed_in
@operation(raises=[ProjectNotFound])
def remove_budget(id: uuid.UUID) -> None:
    """Let a project's sites send as much as they are asked for."""
    budgets.remove_budget(require_project(id))
