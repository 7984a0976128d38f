"""What all websockets share: their seats, and how one is refused."""

from __future__ import annotations

import contextlib
from typing import cast

from flask import Flask, current_app
from simple_websocket import ConnectionClosed, Server

from autostack.extensions import db, settings
from autostack.web.rate_limits import address
from autostack.web.seats import Seats

POLICY_VIOLATION, TRY_AGAIN_LATER, NORMAL = 1008, 1013, 1000
REFUSAL_TIMEOUT_S = 1
EXTENSION = "autostack_seats"


def register(app: Flask) -> None:
    """Have all of the application's sockets be counted together."""
    app.extensions[EXTENSION] = Seats()


def seats() -> Seats:
    """Return where the application's sockets are counted."""
    return cast(Seats, current_app.extensions[EXTENSION])


def limits() -> dict[str, int]:
    """Return the caps that every socket counts for: its process's, and its network address's."""
    known = settings()
    return {"process": known.sockets_at_once, f"address:{address()}": known.max_sockets_per_address}


def refuse(socket: Server, code: int, why: str) -> None:
    """Close a socket before anything was said."""
    db.session.rollback()
    # A connection that is closed with something unread is reset, and the client never learns why.
    with contextlib.suppress(ConnectionClosed):
        socket.receive(timeout=REFUSAL_TIMEOUT_S)
        socket.close(code, why)
