"""Hearing of new routes from Redis, in the background. Visitors are answered whether Redis is there or not."""

from __future__ import annotations

import asyncio
import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from autostack.proxy.routes import RouteTable
from autostack.sites import keys
from autostack.sites.announce import CHANNEL, REPLY_TTL_S, Announcement
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.store import Store

log = structlog.get_logger(__name__)

RECONNECT_AFTER_S = 0.5
# The connection is asked for a sign of life this often; without one for so long, it is given up.
PING_INTERVAL_S = 0.25
SILENCE_S = 2.0
LOOK_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 2.0


async def listen(redis_url: str, routes: RouteTable) -> None:
    """Pass on announcements to the route table, for ever."""
    last_words = ""
    while True:
        redis = Redis.from_url(redis_url, socket_connect_timeout=CONNECT_TIMEOUT_S)
        try:
            await _listen_until_cut_off(redis, routes)
        except (RedisError, OSError) as error:
            if last_words != (last_words := str(error)):
                log.warning("no announcements", error=last_words)
        finally:
            routes.hears_announcements(False)
            await redis.aclose()
        await asyncio.sleep(RECONNECT_AFTER_S)


async def look_for_missed(store: Store, routes: RouteTable, interval_s: float) -> None:
    """Ask the store, again and again, whether somebody announced something that not every proxy heard. For ever."""
    while True:
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                routes.looked(asked_at, await store.get_async(keys.MISSED_ANNOUNCEMENT))
        except ObjectNotFound:
            routes.looked(asked_at, b"")
        except (StoreUnavailable, TimeoutError):
            # Nobody is sure of anything until the store answers again.
            pass
        await asyncio.sleep(interval_s)


async def _listen_until_cut_off(redis: Redis, routes: RouteTable) -> None:
    async with redis.pubsub() as channel:
        await channel.subscribe(CHANNEL)
        asked_at: float | None = None
        ask_at = time.monotonic()
        while True:
            if asked_at is None and time.monotonic() >= ask_at:
                asked_at = time.monotonic()
                await channel.ping()
            message = await channel.get_message(timeout=PING_INTERVAL_S)
            if message is None:
                if asked_at is not None and time.monotonic() - asked_at > SILENCE_S:
                    raise ConnectionError("Redis gave no sign of life")
            elif message["type"] == "pong" and asked_at is not None:
                # Redis keeps the order: what was published before the question came before this answer.
                routes.heard(asked_at)
                asked_at, ask_at = None, time.monotonic() + PING_INTERVAL_S
            else:
                await _take(redis, routes, message["type"], message["data"])


async def _take(redis: Redis, routes: RouteTable, kind: str, data: object) -> None:
    if kind == "subscribe":
        routes.hears_announcements(True)
        log.info("hearing announcements")
    announcement = Announcement.from_json(data) if kind == "message" and isinstance(data, bytes) else None
    if announcement is None:
        return
    for host, generation in announcement.generations.items():
        routes.announced(host, generation)
    async with redis.pipeline(transaction=True) as reply:
        reply.rpush(announcement.reply_to, b"heard")
        reply.expire(announcement.reply_to, REPLY_TTL_S)
        await reply.execute()
