"""The last known routes on this machine's disk, for a proxy that starts while the store is away."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import structlog

from autostack.errors import AutostackError
from autostack.settings import Settings
from autostack.sites import folder
from autostack.sites.routes import Route
from autostack.sites.store import Store

log = structlog.get_logger(__name__)

# After so many were written, those longest unchanged leave, down to MAX_ROUTES.
MAX_ROUTES = 20_000
PRUNE_AFTER = 2_000


def open_saved(settings: Settings, store: Store) -> SavedRoutes | None:
    """Return the routes that were saved here. None where the store itself is a folder of this machine."""
    if store.is_folder:
        return None
    try:
        return SavedRoutes(settings.proxy_cache_folder / "routes")
    except OSError as error:
        log.warning("no saved routes", folder=str(settings.proxy_cache_folder), error=error.strerror)
        return None


class SavedRoutes:
    """A file for each host, written after visitors got their answers. For one event loop."""

    def __init__(self, parent: Path) -> None:
        """Raises OSError for a folder that cannot be made."""
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = parent
        self._waiting: dict[str, Route | None] = {}
        self._writer: asyncio.Task[None] | None = None
        self._written = 0
        self._is_well = True

    async def get(self, host: str) -> Route | None:
        """Return the route that was saved for a host, None if there is none that can be read."""
        path = self._path(host)
        # Most visitors' hosts are known or were never saved: no thread is needed to see that.
        if not path.exists():
            return None
        try:
            route = Route.from_json(await asyncio.to_thread(path.read_bytes))
        except (OSError, AutostackError):
            return None
        return route if route.host == host else None

    def keep(self, host: str, route: Route | None) -> None:
        """Save a host's route some time soon; None: it has none any more."""
        self._waiting[host] = route
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            try:
                await asyncio.to_thread(self._write, waiting)
                self._is_well = True
            except (OSError, AutostackError) as error:
                if self._is_well:
                    self._is_well = False
                    log.warning("routes not saved", error=str(error))

    def _write(self, routes: dict[str, Route | None]) -> None:
        for host, route in routes.items():
            if route is None:
                self._path(host).unlink(missing_ok=True)
            else:
                folder.write_durably(self._path(host), route.to_json())
        self._written += len(routes)
        if self._written >= PRUNE_AFTER:
            self._written = 0
            self._prune()

    def _prune(self) -> None:
        by_age: list[tuple[float, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                by_age.append((path.stat().st_mtime, path))
        for _, path in sorted(by_age)[: max(len(by_age) - MAX_ROUTES, 0)]:
            path.unlink(missing_ok=True)

    def _path(self, host: str) -> Path:
        # A host is at most 253 characters, of letters, digits, dots and dashes.
        return self._folder / host
