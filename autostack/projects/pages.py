"""The pages of projects."""

from __future__ import annotations

from flask import Blueprint

from autostack.web.access import signed_in

pages = Blueprint("projects", __name__)


@pages.get("/projects")
@signed_in
def list_projects() -> str:
    return ""
