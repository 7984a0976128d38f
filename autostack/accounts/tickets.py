"""Tickets: what a websocket's address may carry instead of a token. Good once, and for seconds."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable

from redis.exceptions import RedisError

from autostack.accounts import access_tokens, sessions
from autostack.accounts.models import PersonalAccessToken, Session
from autostack.accounts.one_time import digest
from autostack.errors import Unavailable
from autostack.extensions import redis

LIFETIME_S = 30

SignIn = Session | PersonalAccessToken


def issue(sign_in: SignIn) -> str:
    """Return a ticket that stands for this sign-in. Raises Unavailable while Redis, which keeps them, is away."""
    ticket = secrets.token_urlsafe(32)
    holder = {"token": isinstance(sign_in, PersonalAccessToken), "id": str(sign_in.id)}
    try:
        redis().set(_name(ticket), json.dumps(holder), ex=LIFETIME_S)
    except RedisError:
        raise Unavailable("There are no tickets at the moment. Use the access token itself.") from None
    return ticket


def redeem(ticket: str) -> SignIn | None:
    """Return the sign-in that a ticket stands for, if it is live and the ticket was not used before."""
    try:
        stored = redis().getdel(_name(ticket))
    except RedisError:
        return None
    if not isinstance(stored, bytes):
        return None
    holder = json.loads(stored)
    return live(uuid.UUID(holder["id"]), is_token=holder["token"])


def live(id: uuid.UUID, *, is_token: bool) -> SignIn | None:
    """Return a session or a personal access token by its id, if it has not ended."""
    return access_tokens.live_token(id) if is_token else sessions.live_session(id)


def watch(sign_in: SignIn) -> Callable[[], bool]:
    """Return what tells, at any later time, whether what somebody signed in with has not ended since."""
    # Kept apart from the row, which is gone once it has ended.
    id, is_token = sign_in.id, isinstance(sign_in, PersonalAccessToken)
    return lambda: live(id, is_token=is_token) is not None


def _name(ticket: str) -> str:
    return f"autostack:ticket:{digest(ticket)}"
