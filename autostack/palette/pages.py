"""The command palette: what it finds as a fragment, and as a page of its own for who has no JavaScript."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from autostack.palette import service
from autostack.web.access import me, signed_in
from autostack.web.htmx import is_htmx
from autostack.web.rate_limits import limit_views

pages = Blueprint("palette", __name__)


@pages.get("/search")
@signed_in
@limit_views
def index() -> str:
    text = request.args.get("q", "")
    found = service.find(me(), text)
    return render_template("palette/_found.html" if is_htmx() else "palette/page.html", found=found, text=text)
