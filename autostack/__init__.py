"""Autostack: connect a Git repository, and each deployment is built and served at a URL of its own.

Importing the package loads nothing heavy, so that the proxy and the build agent start without Flask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from autostack.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Return the web application: pages, JSON API, websockets and the agents' API.

    `settings` defaults to what the environment says; see `autostack.settings`.
    """
    from autostack.copies import made_to_stay

    with made_to_stay():
        from autostack.web.app import build_app

        return build_app(settings)
