"""The JSON API of projects."""

from __future__ import annotations

from flask import Blueprint

api = Blueprint("projects_api", __name__, url_prefix="/api")
