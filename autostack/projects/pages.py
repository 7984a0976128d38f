"""The pages of projects."""

from __future__ import annotations

from flask import Blueprint

pages = Blueprint("projects", __name__)
