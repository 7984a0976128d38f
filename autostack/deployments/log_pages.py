"""A deployment's log on its page: a window of its lines, more of them on demand, and what a search finds."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, render_template, request

from autostack.deployments import ansi, api, logs
from autostack.deployments.access import require_deployment
from autostack.deployments.models import Deployment, DeploymentLog
from autostack.deployments.schemas import LinesFoundOut, LogsIn, LogViewIn
from autostack.web.access import signed_in
from autostack.web.rate_limits import limit_downloads
from autostack.web.schemas import answer

pages = Blueprint("deployment_logs", __name__, url_prefix="/deployments/<uuid:id>")

LINES_ON_PAGE = 1_000
# Without JavaScript, what a search finds is a page of lines; with it, numbers to go to.
MOST_FOUND_ON_PAGE = 500
MOST_FOUND = 5_000


@pages.get("/logs.txt")
@signed_in
@limit_downloads
def download(id: uuid.UUID) -> Response:
    return api.as_download(require_deployment(id))


@pages.get("/_log_lines")
@signed_in
def lines(id: uuid.UUID) -> str:
    query = LogsIn.parse(request.args)
    found = logs.page(require_deployment(id).id, query.after, query.limit)
    return render_template("deployments/_log_lines.html", log_lines=_shown(found))


@pages.get("/_log_search")
@signed_in
@limit_downloads
def search(id: uuid.UUID) -> Response:
    deployment, query = require_deployment(id), LogViewIn.parse(request.args)
    found = logs.lines_with(deployment.id, query.search, MOST_FOUND + 1) if query.search else []
    return answer(LinesFoundOut(lines=found[:MOST_FOUND], more=len(found) > MOST_FOUND))


def context(deployment: Deployment) -> dict[str, Any]:
    """Return what the log pane shows first, for the request's query. Raises Invalid."""
    query = LogViewIn.parse(request.args)
    newest = deployment.log_lines
    if query.search:
        numbers = logs.lines_with(deployment.id, query.search, MOST_FOUND_ON_PAGE + 1)
        shown = logs.numbered(deployment.id, numbers[:MOST_FOUND_ON_PAGE])
        more = len(numbers) > MOST_FOUND_ON_PAGE
        return {"log_lines": _shown(shown), "newest_line": newest, "log_search": query.search, "more_found": more}
    # Beyond the end there is nothing to show, not even an end.
    after = max(0, newest - LINES_ON_PAGE) if query.after is None else min(query.after, max(0, newest - 1))
    return {
        "log_lines": _shown(logs.page(deployment.id, after, LINES_ON_PAGE)),
        "newest_line": newest,
        "lines_on_page": LINES_ON_PAGE,
    }


def _shown(found: Iterable[DeploymentLog]) -> list[dict[str, Any]]:
    return [_line(line) for line in found]


def _line(line: DeploymentLog) -> dict[str, Any]:
    time, _, text = line.message.partition(" ")
    return {"seq": line.seq, "time": time.strip("[]"), "level": line.log_level, "html": ansi.to_html(text)}
