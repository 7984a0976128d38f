"""The live log over a websocket: the spec's events, resumable by sequence number."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

from flask import Blueprint, request
from flask_login import current_user
from pydantic import Field
from redis.client import PubSub
from redis.exceptions import RedisError
from simple_websocket import ConnectionClosed, Server

from autostack.accounts import service as accounts
from autostack.accounts.models import User
from autostack.deployments import ansi, events, hosts, logs, service
from autostack.deployments.models import Deployment, DeploymentLog
from autostack.deployments.schemas import MAX_SEQ
from autostack.deployments.service import DeploymentNotFound
from autostack.deployments.status import Status
from autostack.errors import Invalid
from autostack.extensions import db, redis, settings, sock
from autostack.web.access import public
from autostack.web.schemas import Schema
from autostack.web.times import duration, iso

sockets = Blueprint("deployments_stream", __name__, url_prefix="/api/deployments")

# How long a client may take to say what it wants.
SUBSCRIBE_TIMEOUT_S = 10
# Between looks at PostgreSQL that nobody asked for: the net under Redis's messages.
POLL_S = 2.0
# After the last event the client closes; one that doesn't is closed.
LINGER_S = 10
POLICY_VIOLATION, NORMAL = 1008, 1000


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
    deployment = _readable(id)
    wish = _subscription(socket, id) if deployment else None
    if wish is None:
        socket.close(POLICY_VIOLATION, "Not allowed")
        return
    with contextlib.suppress(ConnectionClosed), _wake_ups(id) as wake_up:
        _follow(socket, wish, wake_up)


def _readable(id: uuid.UUID) -> Deployment | None:
    """Return the deployment if the caller may read it: by `?token=`, or by cookie from a page of ours."""
    user = _user()
    try:
        return service.deployment_of(user, id) if user else None
    except DeploymentNotFound:
        return None


def _user() -> User | None:
    token = request.args.get("token")
    if token is not None:
        session = accounts.session_of_access_token(token)
        return session.user if session else None
    # Browsers send cookies with any site's websockets: only the Origin tells whose page it was.
    origin = urlsplit(request.headers.get("Origin", ""))
    if origin.netloc not in {request.host, urlsplit(settings().app_url).netloc}:
        return None
    return current_user._get_current_object() if current_user.is_authenticated else None


def _subscription(socket: Server, id: uuid.UUID) -> SubscribeIn | None:
    """Read what the client wants; None if it says nothing, nothing sensible, or names another deployment."""
    try:
        wish = SubscribeIn.parse(json.loads(socket.receive(timeout=SUBSCRIBE_TIMEOUT_S) or "null") or {})
    except (Invalid, ValueError, AttributeError, RecursionError, ConnectionClosed):
        return None
    return wish if wish.deployment_id == id else None


def _follow(socket: Server, wish: SubscribeIn, wake_up: PubSub | None) -> None:
    after, told = wish.after, None
    while socket.connected:
        # The state first: what is final by then has no line that the next query would miss.
        deployment = db.session.get(Deployment, wish.deployment_id)
        if deployment is None:
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
        _wait(wake_up)


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


@contextlib.contextmanager
def _wake_ups(id: uuid.UUID) -> Iterator[PubSub | None]:
    """Listen for the deployment's changes; None while Redis is away."""
    listener: PubSub = redis().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    try:
        listener.subscribe(events.channel(id))
    except RedisError:
        yield None
        return
    with contextlib.closing(listener):
        yield listener


def _wait(wake_up: PubSub | None) -> None:
    """Return when there is something new, or after a while."""
    if wake_up is None:
        time.sleep(POLL_S)
        return
    try:
        wake_up.get_message(timeout=POLL_S)
    except RedisError:
        time.sleep(POLL_S)
