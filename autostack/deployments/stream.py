"""The live log over a websocket: the spec's events, resumable by sequence number."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Callable
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from flask import Blueprint, Flask, current_app, request
from flask_login import current_user
from pydantic import Field
from redis import Redis
from simple_websocket import ConnectionClosed, Server

from autostack.accounts import identity, tickets
from autostack.accounts.models import User
from autostack.accounts.tickets import SignIn
from autostack.deployments import ansi, hosts, logs, service
from autostack.deployments.models import Deployment, DeploymentLog
from autostack.deployments.schemas import MAX_SEQ
from autostack.deployments.service import DeploymentNotFound
from autostack.deployments.status import Status
from autostack.deployments.wake_ups import WakeUps
from autostack.errors import Invalid
from autostack.extensions import db, settings, sock
from autostack.web import sockets as shared
from autostack.web.access import public
from autostack.web.schemas import Schema
from autostack.web.sockets import NORMAL, POLICY_VIOLATION, TRY_AGAIN_LATER, refuse
from autostack.web.times import duration, iso

sockets = Blueprint("deployments_stream", __name__, url_prefix="/api/deployments")

# How long a client may take to say what it wants.
SUBSCRIBE_TIMEOUT_S = 10
# Between looks at PostgreSQL that nobody asked for: the net under Redis's messages.
POLL_S = 2.0
# After the last event the client closes; one that doesn't is closed.
LINGER_S = 10
EXTENSION = "autostack_stream"


class SubscribeIn(Schema):
    """What a client says first. `after` is the last line that it has."""

    type: Literal["subscribe"]
    deployment_id: uuid.UUID
    after: int = Field(0, ge=0, le=MAX_SEQ)
    format: Literal["text", "html"] = "text"


@sock.route("/<uuid:id>/logs/stream", bp=sockets)  # type: ignore[untyped-decorator]
@public
def stream(socket: Server, id: uuid.UUID) -> None:
    """Send a deployment's log from where the client stands, and its changes, until it has ended."""
    sign_in = _sign_in()
    if sign_in is None or not _may_read(sign_in.user, id):
        refuse(socket, POLICY_VIOLATION, "Not allowed")
        return
    still_signed_in, limits = tickets.watch(sign_in), _limits(sign_in.user)
    # Whoever says nothing must not keep a connection of the pool.
    db.session.rollback()
    with shared.seats().seat(limits) as free:
        if not free:
            refuse(socket, TRY_AGAIN_LATER, "Too many open connections")
        elif wish := _subscription(socket, id):
            with contextlib.suppress(ConnectionClosed), _wake_ups().of(id) as wake_up:
                _follow(socket, wish, still_signed_in, wake_up)
        else:
            socket.close(POLICY_VIOLATION, "Not allowed")


def register(app: Flask, redis: Redis) -> None:
    """Have the application's sockets share one subscription to Redis."""
    app.extensions[EXTENSION] = WakeUps(redis)


def _wake_ups() -> WakeUps:
    return cast(WakeUps, current_app.extensions[EXTENSION])


def _limits(user: User) -> dict[str, int]:
    return {**shared.limits(), f"user:{user.id}": settings().max_sockets_per_user}


def _may_read(user: User, id: uuid.UUID) -> bool:
    try:
        service.deployment_of(user, id)
    except DeploymentNotFound:
        return False
    return True


def _sign_in() -> SignIn | None:
    """Return what the caller signed in with: by `?ticket=` or `?token=`, or by cookie from a page of ours."""
    ticket, token = request.args.get("ticket"), request.args.get("token")
    if ticket is not None:
        return tickets.redeem(ticket)
    if token is not None:
        return identity.sign_in_of_token(token)
    # Browsers send cookies with any site's websockets: only the Origin tells whose page it was.
    origin = urlsplit(request.headers.get("Origin", ""))
    if origin.netloc not in {request.host, urlsplit(settings().app_url).netloc}:
        return None
    return identity.current_sign_in() if current_user.is_authenticated else None


def _subscription(socket: Server, id: uuid.UUID) -> SubscribeIn | None:
    """Read what the client wants; None if it says nothing, nothing sensible, or names another deployment."""
    try:
        wish = SubscribeIn.parse(json.loads(socket.receive(timeout=SUBSCRIBE_TIMEOUT_S) or "null") or {})
    except (Invalid, ValueError, AttributeError, RecursionError, ConnectionClosed):
        return None
    return wish if wish.deployment_id == id else None


def _follow(socket: Server, wish: SubscribeIn, still_signed_in: Callable[[], bool], wake_up: threading.Event) -> None:
    after, told = wish.after, None
    while socket.connected:
        wake_up.clear()
        # The state first: what is final by then has no line that the next query would miss.
        deployment = db.session.get(Deployment, wish.deployment_id)
        if deployment is None:
            return
        # Who has logged out since, or was logged out, reads no further. That the token it was opened with expires
        # ends nothing: the log ends with its build.
        if not still_signed_in():
            socket.close(POLICY_VIOLATION, "The session has ended")
            return
        status, last_words = deployment.state, _last_words(deployment)
        after = _send_lines(socket, wish, after)
        if status is not told:
            socket.send(json.dumps({"type": "status_update", "status": status, "stage": status.capitalize()}))
            told = status
        if status.is_final:
            _take_leave(socket, last_words)
            return
        # Neither a transaction nor a connection of the pool is held while we wait.
        db.session.rollback()
        wake_up.wait(POLL_S)


def _send_lines(socket: Server, wish: SubscribeIn, after: int) -> int:
    while lines := logs.page(wish.deployment_id, after):
        after = lines[-1].seq
        messages = [json.dumps(_event(line, wish.format)) for line in lines]
        # A client that reads slowly must not keep a connection of the pool.
        db.session.rollback()
        for message in messages:
            socket.send(message)
    return after


def _event(line: DeploymentLog, wanted: str) -> dict[str, Any]:
    event = {
        "type": "log",
        "seq": line.seq,
        "timestamp": iso(line.timestamp),
        "level": line.log_level,
        "message": ansi.plain(line.message),
    }
    return {**event, "html": ansi.to_html(line.message)} if wanted == "html" else event


def _last_words(deployment: Deployment) -> dict[str, Any]:
    url = hosts.addresses([deployment]).get(deployment.id) if deployment.state is Status.SUCCESS else None
    spent = duration(deployment.build_duration)
    return {"type": "deployment_complete", "status": deployment.status, "duration": spent, "url": url}


def _take_leave(socket: Server, last_words: dict[str, Any]) -> None:
    db.session.rollback()
    socket.send(json.dumps(last_words))
    # Closing at once could cut off what is still on its way.
    with contextlib.suppress(ConnectionClosed):
        socket.receive(timeout=LINGER_S)
    socket.close(NORMAL)
