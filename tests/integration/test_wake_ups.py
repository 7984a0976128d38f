"""One subscription of a process wakes all who watch."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from autostack.deployments import events
from autostack.deployments.wake_ups import WakeUps
from tests.services import running_valkey

TIMEOUT_S = 60


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """Nobody else subscribes here."""
    with running_valkey(tmp_path) as url, Redis.from_url(url, socket_timeout=TIMEOUT_S) as client:
        yield client


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def subscriptions(redis: Redis) -> int:
    return int(redis.pubsub_numpat())


def publish_until(redis: Redis, deployment_id: uuid.UUID, condition: Callable[[], bool]) -> None:
    def published() -> bool:
        redis.publish(events.channel(deployment_id), b"changed")
        return condition()

    wait_until(published)


def test_many_watchers_have_one_subscription_and_none_is_left_after_them(redis: Redis) -> None:
    hub, one, other, marker = WakeUps(redis), *(uuid.uuid4() for _ in range(3))
    with hub.of(one) as first, hub.of(one) as second, hub.of(other) as third:
        wait_until(lambda: subscriptions(redis) == 1)
        with hub.of(marker) as unrelated:
            # Who watched before the subscription is woken once without a message: that is over by the second time.
            for _ in range(2):
                unrelated.clear()
                publish_until(redis, marker, unrelated.is_set)
        for event in (first, second, third):
            event.clear()
        redis.publish(events.channel(one), b"changed")
        assert first.wait(TIMEOUT_S)
        assert second.wait(TIMEOUT_S)
        assert not third.is_set()
        assert subscriptions(redis) == 1
    wait_until(lambda: subscriptions(redis) == 0)
    with hub.of(other) as later:
        publish_until(redis, other, later.is_set)


def test_a_connection_that_is_closed_as_it_is_read_is_made_again(redis: Redis) -> None:
    hub, watched = WakeUps(redis), uuid.uuid4()
    with hub.of(watched) as event:
        publish_until(redis, watched, event.is_set)
        redis.connection_pool.disconnect()
        event.clear()
        publish_until(redis, watched, event.is_set)


def test_a_connection_that_is_lost_is_made_again(redis: Redis) -> None:
    hub, watched = WakeUps(redis), uuid.uuid4()
    with hub.of(watched) as event:
        publish_until(redis, watched, event.is_set)
        redis.client_kill_filter(_type="pubsub")
        event.clear()
        publish_until(redis, watched, event.is_set)
