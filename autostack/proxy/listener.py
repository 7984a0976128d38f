"""Hearing of new routes from Redis, in the background. Visitors are answered whether Redis is there or not."""

from __future__ import annotations

import asyncio

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from autostack.proxy.routes import RouteTable
from autostack.sites.announce import CHANNEL, REPLY_TTL_S, Announcement

log = structlog.get_logger(__name__)

RECONNECT_AFTER_S = 0.5
# A silent connection is asked for a sign of life this often; without one until the next time, it is given up.
PING_INTERVAL_S = 2.0
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


async def _listen_until_cut_off(redis: Redis, routes: RouteTable) -> None:
    async with redis.pubsub() as channel:
        await channel.subscribe(CHANNEL)
        is_asked = False
        while True:
            message = await channel.get_message(timeout=PING_INTERVAL_S)
            if message is None and is_asked:
                raise ConnectionError("Redis gave no sign of life")
            is_asked = await _ping_if_silent(channel, message is None)
            if message is not None:
                await _take(redis, routes, message["type"], message["data"])


async def _ping_if_silent(channel: PubSub, is_silent: bool) -> bool:
    if is_silent:
        await channel.ping()
    return is_silent


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
