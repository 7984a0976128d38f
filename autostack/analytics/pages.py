"""The analytics page: its cards, and one address a tab."""

from __future__ import annotations

from flask import Blueprint, render_template

from autostack.analytics import figures
from autostack.status import snapshot
from autostack.web.access import me, signed_in

pages = Blueprint("analytics", __name__, url_prefix="/analytics")


@pages.get("")
@signed_in
def frequency() -> str:
    return _tab("frequency")


@pages.get("/success")
@signed_in
def success() -> str:
    return _tab("success")


@pages.get("/durations")
@signed_in
def durations() -> str:
    return _tab("durations")


@pages.get("/resources")
@signed_in
def resources() -> str:
    shown = {"resources": figures.resource_usage(), "status": snapshot.take()}
    return render_template("analytics/resources.html", metrics=figures.key_figures(me()), **shown)


def _tab(name: str) -> str:
    return render_template(f"analytics/{name}.html", metrics=figures.key_figures(me()), charts=figures.charts(me()))
