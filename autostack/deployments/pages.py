"""The pages of deployments."""

from __future__ import annotations

from flask import Blueprint

pages = Blueprint("deployments", __name__)
