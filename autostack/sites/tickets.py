"""Tickets that let an owner into a protected site once: web issues them, the proxy redeems them, Redis knows them.

A ticket is good for one host and for the password that the site has at the time.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

ENTER_PATH = "/.autostack/enter"
TTL_S = 60
MAX_PATH_CHARACTERS = 2_000
SAFE_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
TICKET = re.compile(r"[A-Za-z0-9_-]{43}")


def issue(redis: Redis, host: str, key_id: str) -> str:
    """Return a new ticket. Raises RedisError."""
    ticket = secrets.token_urlsafe(32)
    redis.set(_name(ticket), json.dumps([host, key_id]), ex=TTL_S)
    return ticket


async def redeem(redis: AsyncRedis, ticket: str, host: str, key_id: str) -> bool:
    """Use a ticket up; tell whether it was good for this. Raises RedisError."""
    if TICKET.fullmatch(ticket) is None:
        return False
    known = await redis.getdel(_name(ticket))
    return known is not None and json.loads(known) == [host, key_id]


def safe_path(path: str) -> str:
    """Return a path of the site itself, with its query: what leads elsewhere, or is none, becomes `/`."""
    return path if len(path) <= MAX_PATH_CHARACTERS and SAFE_PATH.fullmatch(path) else "/"


def _name(ticket: str) -> str:
    # Who can read Redis must not be able to use what is in there.
    return f"autostack:tickets:{hashlib.sha256(ticket.encode()).hexdigest()}"
