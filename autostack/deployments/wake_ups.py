"""Wakes this process's watchers of deployments: one subscription to Redis for all of them.

A message says only that there is something new. Who watches looks at PostgreSQL also without one, now and then, so that
a Redis that is away makes the log come later, never incomplete.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator

import structlog
from redis import Redis
from redis.exceptions import RedisError

from autostack.deployments import events

log = structlog.stdlib.get_logger(__name__)

LISTEN_S = 5.0
PAUSE_S = 1.0


class WakeUps:
    """The watchers of one process, and the thread that listens while there are any."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._watchers: dict[str, set[threading.Event]] = {}
        self._listening = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of(self, deployment_id: uuid.UUID) -> Iterator[threading.Event]:
        """Give an event that is set whenever the deployment has changed, until the block ends."""
        channel, event = events.channel(deployment_id), threading.Event()
        with self._lock:
            self._watchers.setdefault(channel, set()).add(event)
            if not self._listening:
                self._listening = True
                threading.Thread(target=self._listen, name="wake-ups", daemon=True).start()
        try:
            yield event
        finally:
            with self._lock:
                self._watchers[channel].discard(event)
                if not self._watchers[channel]:
                    del self._watchers[channel]

    def _listen(self) -> None:
        done = False
        while not done:
            try:
                self._hear()
                done = True
            # ValueError, TypeError: what the library raises when its connection is closed as it reads.
            except (RedisError, OSError, ValueError, TypeError) as error:
                log.warning("deployments' changes are not heard of", error=repr(error))
                time.sleep(PAUSE_S)
                done = self._nobody_watches()

    def _hear(self) -> None:
        """Wake watchers until there are none. Raises RedisError."""
        with contextlib.closing(self._redis.pubsub(ignore_subscribe_messages=True)) as listener:  # type: ignore[no-untyped-call]
            listener.psubscribe(events.channel("*"))
            # What happened before the subscription nobody told us.
            self._wake(*self._watched())
            while not self._nobody_watches():
                if message := listener.get_message(timeout=LISTEN_S):
                    self._wake(message["channel"].decode())

    def _watched(self) -> list[str]:
        with self._lock:
            return list(self._watchers)

    def _wake(self, *channels: str) -> None:
        with self._lock:
            for event in [event for channel in channels for event in self._watchers.get(channel, ())]:
                event.set()

    def _nobody_watches(self) -> bool:
        """Tell whether the listener is to end, which it then has: the next watcher starts another."""
        with self._lock:
            self._listening = bool(self._watchers)
            return not self._listening
