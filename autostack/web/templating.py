"""What every template may use."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from autostack.web.times import duration, iso, relative

PACKAGE = Path(__file__).parent.parent


def register(app: Flask) -> None:
    """Add the filters that templates share."""
    app.jinja_env.filters.update(duration=duration, iso=iso, relative=relative)
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
