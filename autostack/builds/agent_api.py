"""What build agents call; see docs/agent-api.md."""

from __future__ import annotations

from flask import Blueprint

api = Blueprint("agent_api", __name__, url_prefix="/agent/attempts")
