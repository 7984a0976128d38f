"""The status page. Anybody may look: whether a platform is up is asked by those who cannot sign in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, make_response, render_template, request
from flask_login import current_user

from autostack.extensions import settings
from autostack.status import snapshot
from autostack.status.schemas import HistoryDayOut, ServiceOut, StatusOut
from autostack.web.access import public
from autostack.web.rate_limits import limit_views
from autostack.web.times import month_day

pages = Blueprint("status", __name__, url_prefix="/status")

# Percent from which on a day counts as good, and as fair.
GOOD, FAIR = 99.9, 99.0


@dataclass(frozen=True)
class Bar:
    """A day: how high its uptime stands, and what its tooltip says."""

    level: str
    title: str


@dataclass(frozen=True)
class Row:
    """90 days of a service, or of all of them. `uptime` is percent of all days, None if it never was measured."""

    label: str
    uptime: float | None
    bars: list[Bar]


@pages.get("")
@public
@limit_views
def index() -> str:
    is_admin = current_user.is_authenticated and current_user.is_superuser
    open_to_builds = is_admin and settings().allow_unsandboxed_builds
    return render_template("status/index.html", **_context(snapshot.take()), builds_may_go_unsandboxed=open_to_builds)


@pages.get("/_board")
@public
@limit_views
def board() -> Response:
    """Answer with what the page shows now; with nothing to who has `seen` just that."""
    shown = _context(snapshot.take())
    if request.args.get("seen") == shown["mark"]:
        return make_response("", 204)
    return make_response(render_template("status/_board.html", **shown))


@pages.get("/history")
@public
@limit_views
def history() -> str:
    return render_template("status/history.html", **_context(snapshot.take()))


def _context(status: StatusOut) -> dict[str, Any]:
    mark = hashlib.sha256(status.model_dump_json().encode()).hexdigest()[:16]
    is_probed = any(one.checked_at for one in status.services)
    return {"status": status, "mark": mark, "is_probed": is_probed, "rows": _rows(status)}


def _rows(status: StatusOut) -> list[Row]:
    """Return the bars of all services together, then of each."""
    whole = Row("All services", status.uptime, [_bar(day, day.uptime, day.incidents) for day in status.history])
    return [whole, *(_row(one, status.history) for one in status.services)]


def _row(one: ServiceOut, history: Sequence[HistoryDayOut]) -> Row:
    return Row(one.name, one.uptime, [_bar(day, day.services.get(one.name)) for day in history])


def _bar(day: HistoryDayOut, uptime: float | None, incidents: int = 0) -> Bar:
    said = "not measured" if uptime is None else f"{uptime}% up"
    counted = {0: "", 1: ", 1 incident"}.get(incidents, f", {incidents} incidents")
    return Bar(_level(uptime), f"{month_day(day.day)}: {said}{counted}")


def _level(uptime: float | None) -> str:
    if uptime is None:
        return "none"
    return "good" if uptime >= GOOD else "fair" if uptime >= FAIR else "bad"
