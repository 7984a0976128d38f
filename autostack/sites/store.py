"""The object store."""

from __future__ import annotations

from autostack.settings import Settings


class Store:
    """The object store of the built sites."""


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name."""
    return Store()
