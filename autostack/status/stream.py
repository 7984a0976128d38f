"""The spec's status events over a websocket: each service and the platform's figures, every three seconds."""

from __future__ import annotations

import contextlib
import time

from flask import Blueprint
from simple_websocket import ConnectionClosed, Server

from autostack.extensions import db, settings, sock
from autostack.status import snapshot
from autostack.status.schemas import MetricsUpdateOut, ServiceUpdateOut, StatusOut
from autostack.web import sockets as shared
from autostack.web.access import public

sockets = Blueprint("status_stream", __name__, url_prefix="/api/status")

# Anybody may watch the status, but not all at once: most seats are for the logs of those who deploy.
SHARE = 4


@sock.route("/stream", bp=sockets)  # type: ignore[untyped-decorator]
@public
def stream(socket: Server) -> None:
    """Send how the platform is doing, again and again, until the client leaves."""
    limits = {**shared.limits(), "status": max(1, settings().sockets_at_once // SHARE)}
    db.session.rollback()
    with shared.seats().seat(limits) as free:
        if not free:
            shared.refuse(socket, shared.TRY_AGAIN_LATER, "Too many open connections")
            return
        with contextlib.suppress(ConnectionClosed):
            while socket.connected:
                _tell(socket)


def _tell(socket: Server) -> None:
    seen = snapshot.take()
    # Neither a transaction nor a connection of the pool is held while we wait.
    db.session.rollback()
    for update in _updates(seen):
        socket.send(update.model_dump_json(by_alias=True))
    until = time.monotonic() + snapshot.INTERVAL_S
    while (left := until - time.monotonic()) > 0:
        # What a client says is read, so that it does not pile up, and means nothing.
        socket.receive(timeout=left)


def _updates(seen: StatusOut) -> list[ServiceUpdateOut | MetricsUpdateOut]:
    return [*map(ServiceUpdateOut.of, seen.services), MetricsUpdateOut(metrics=seen.metrics)]
