"""A user's figures as page and API show them, remembered for a minute or until something changes."""

from __future__ import annotations

from autostack import cache
from autostack.accounts.models import User
from autostack.analytics import service
from autostack.analytics.schemas import ChartsOut, KeyFiguresOut, ResourceOut


def key_figures(user: User) -> KeyFiguresOut:
    """Return the figures of the cards."""
    return cache.recall(KeyFiguresOut, user.id, lambda: KeyFiguresOut.of(service.metrics(user)))


def charts(user: User) -> ChartsOut:
    """Return what is charted of the last six weeks."""
    return cache.recall(ChartsOut, user.id, lambda: ChartsOut.of(service.six_weeks(user)))


def resource_usage() -> list[ResourceOut]:
    """Return what is in use of the platform's machines: nothing measures that yet, and nothing is made up."""
    return []
