"""The JSON API of deployments."""

from __future__ import annotations

from flask import Blueprint

api = Blueprint("deployments_api", __name__, url_prefix="/api")
