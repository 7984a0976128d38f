"""A project's Traffic tab: its figures, and the budget for what its sites send."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.errors import AutostackError, Invalid
from autostack.projects import overview
from autostack.projects.access import require_project
from autostack.projects.models import Project
from autostack.traffic import budgets, service
from autostack.traffic.schemas import BudgetIn, TrafficIn
from autostack.web.access import signed_in
from autostack.web.redirects import see_other

pages = Blueprint("traffic", __name__, url_prefix="/projects/<uuid:id>/traffic")

RANGES = (7, 30, 90)


@pages.get("")
@signed_in
def index(id: uuid.UUID) -> Response:
    return _page(require_project(id), TrafficIn.parse(request.args).days)


@pages.post("/budget")
@signed_in
def set_budget(id: uuid.UUID) -> Response:
    project = require_project(id)
    try:
        given = BudgetIn.parse(request.form)
    except Invalid as error:
        return _page(project, error=error)
    budgets.set_budget(project, given.month_gb, given.action)
    flash(f"The budget is {given.month_gb:,} GB a month from now on.", "success")
    return see_other(url_for("traffic.index", id=id))


@pages.post("/budget/remove")
@signed_in
def remove_budget(id: uuid.UUID) -> Response:
    budgets.remove_budget(require_project(id))
    flash("There is no budget any more.", "success")
    return see_other(url_for("traffic.index", id=id))


def _page(project: Project, days: int = 30, error: AutostackError | None = None) -> Response:
    frame = overview.frame(project)
    page = render_template(
        "traffic/index.html",
        **frame,
        days=days,
        ranges=RANGES,
        traffic=service.traffic_of(project, days),
        month_bytes=budgets.used_bytes(project),
        form=request.form.to_dict() if error else _shown(frame["budget"]),
        errors=error.details if error else {},
    )
    return make_response(page, error.status if error else 200)


def _shown(budget: budgets.Budget | None) -> dict[str, str]:
    return {"monthGb": str(budget.month_gb), "action": budget.action.value} if budget else {"action": "warn"}
