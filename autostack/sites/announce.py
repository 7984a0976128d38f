"""Telling the proxies that routes have changed, and when every visitor gets the new site.

A proxy that hears of a newer generation asks the store again before it answers the next request, and says so on a list
made for this one announcement. One that is cut off from Redis asks the store for every request, see
`autostack.proxy.routes`; between being cut off and noticing, a route's time to live is the bound. Whoever announces and
is cut off himself, or does not hear from every proxy, leaves a word in the store, which proxies look at twice within
that time.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

from autostack.sites import keys
from autostack.sites.store import Store

CHANNEL = "autostack:routes"
REPLIES = "autostack:routes:replies:"
REPLY_TTL_S = 60
# For the time between a proxy's look at the store and its answer to a request that was already under way.
MARGIN_S = 0.25
MAX_MESSAGE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Announcement:
    """Hosts and the generations that their routes have reached; proxies push their word on the list `reply_to`."""

    generations: dict[str, int]
    reply_to: str

    def to_json(self) -> bytes:
        return json.dumps({"generations": self.generations, "replyTo": self.reply_to}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Announcement | None:
        """Read what came over the channel; None for what is no announcement."""
        try:
            message = json.loads(data) if len(data) <= MAX_MESSAGE_BYTES else {}
            generations = {str(host): int(number) for host, number in message["generations"].items()}
            reply_to = str(message["replyTo"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return cls(generations, reply_to) if reply_to.startswith(REPLIES) else None


def announce(redis: Redis, generations: Mapping[str, int], timeout_s: float) -> bool:
    """Tell the proxies and wait for their word; tell whether every one of them gave it within `timeout_s`.

    False also when Redis is away, or no proxy listens: one may be serving nevertheless. How long an absent Redis is
    tried is up to the client's own retries.
    """
    announcement = Announcement(dict(generations), REPLIES + uuid.uuid4().hex)
    deadline = time.monotonic() + timeout_s
    try:
        listeners = int(redis.publish(CHANNEL, announcement.to_json()))
        heard = [_wait_for_reply(redis, announcement.reply_to, deadline) for _ in range(listeners)]
    except RedisError:
        return False
    return bool(heard) and all(heard)


def _wait_for_reply(redis: Redis, reply_to: str, deadline: float) -> bool:
    # Redis takes 0 for "for ever", and a socket's own time-out must not come before the answer.
    remaining = deadline - time.monotonic()
    return redis.blpop([reply_to], timeout=max(remaining, 0.001)) is not None


def make_visible(
    redis: Redis, store: Store, generations: Mapping[str, int], timeout_s: float, route_ttl_s: float
) -> None:
    """Return once a request made from now on gets these generations from every proxy. Raises StoreUnavailable.

    The routes must be in the store. Usually that takes a millisecond; without every proxy's word, it is said in the
    store, too, and a route's time to live has to pass.
    """
    if not announce(redis, generations, timeout_s):
        store.put(keys.MISSED_ANNOUNCEMENT, uuid.uuid4().hex.encode())
        time.sleep(route_ttl_s + MARGIN_S)
