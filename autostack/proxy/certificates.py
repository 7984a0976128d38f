"""Whether a certificate may be obtained for a name: asked by the server in front, before it orders one (`ask`).

Anybody can make that server ask, by connecting with a name of his choice: of names that nothing is known of, only so
many are looked up at once, by `RouteTable.find`, and none is refused because others were made up. They are all that
server's, so that no visitor waits for them.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from autostack.proxy.hops import network_of
from autostack.proxy.messages import Request, Response, head
from autostack.proxy.parsing import normalise_host
from autostack.proxy.routes import RouteTable
from autostack.settings import Settings

MAX_QUERY_BYTES = 500


class Certificates:
    """Answers `?domain=…`: 200 for the dashboard's own host and for hosts that show something, else 404."""

    def __init__(self, settings: Settings, routes: RouteTable, name_of: Callable[[str], str | None]) -> None:
        self._own_host = urlsplit(settings.app_url).hostname
        self._routes = routes
        self._name_of = name_of

    async def answer(self, request: Request) -> Response:
        """Return 200 or 404. Raises StoreUnavailable."""
        given = parse_qs(request.query[:MAX_QUERY_BYTES].decode("latin-1")).get("domain", [""])[0]
        host = normalise_host(given.encode("latin-1", "replace")) if given else None
        name = self._name_of(host) if host else None
        if host is not None and host == self._own_host:
            return _plain(200)
        if name is None:
            return _plain(404)
        route = await self._routes.find(name, network_of(request.client))
        return _plain(404 if route is None or route.removed else 200)


def _plain(status: int) -> Response:
    headers = [("Content-Type", "text/plain"), ("Content-Length", "0"), ("Cache-Control", "no-store")]
    return Response(head(status, headers))
