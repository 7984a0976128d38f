"""Which deployment a host shows, as a proxy knows it: who is asked, and when nobody needs to be."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from autostack.proxy import routes
from autostack.proxy.cache import SingleFlight
from autostack.proxy.routes import RouteTable
from autostack.settings import load_settings
from autostack.sites import keys
from autostack.sites.routes import Route
from autostack.sites.store import Store, open_store

TTL_S = 1.0
OLD = Route("site", 1, str(uuid.uuid4()), str(uuid.uuid4()))
NEW = Route("site", 2, OLD.project_id, str(uuid.uuid4()))
# Nothing listens there.
AWAY = load_settings(
    storage_url="s3://away/",
    s3_endpoint_url="http://127.0.0.1:1",
    s3_region="us-east-1",
    aws_access_key_id="key",
    aws_secret_access_key="secret",
)


class Clock:
    """Time as the route table has it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(routes, "time", clock)
    return clock


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(load_settings(storage_url=f"file://{tmp_path}/store"))
    store.put(keys.route("site"), OLD.to_json())
    return store


@pytest.fixture
def table(store: Store) -> RouteTable:
    return RouteTable(store, TTL_S)


def pass_time(table: RouteTable, clock: Clock, seconds: float) -> None:
    """Let time pass, at the end of which announcements arrive, and none was missed."""
    clock.now += seconds
    table.heard(clock.now)
    table.looked(clock.now, b"")


async def until_read(table: RouteTable) -> None:
    while table._rereading is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def shown(table: RouteTable) -> Route | None:
    known = table.fresh("site")
    assert known is not None, "a visitor would have to wait"
    return known.route


async def learn(table: RouteTable, clock: Clock) -> None:
    table.hears_announcements(True)
    pass_time(table, clock, 0)
    assert await table.find("site") == OLD


def test_a_route_stays_fresh_while_the_proxy_is_sure_to_hear_of_a_newer_one(table, clock, store):
    async def ask() -> None:
        await learn(table, clock)
        store.put(keys.route("site"), NEW.to_json())
        pass_time(table, clock, 2 * TTL_S)
        assert shown(table) == OLD
        clock.now += 2 * TTL_S
        assert await table.find("site") == NEW

    asyncio.run(ask())


def test_a_route_that_was_known_for_long_is_read_again_and_nobody_waits_for_that(table, clock, store):
    async def ask() -> None:
        await learn(table, clock)
        store.put(keys.route("site"), NEW.to_json())
        pass_time(table, clock, routes.MAX_SURE_S)
        assert shown(table) == OLD
        await until_read(table)
        assert shown(table) == NEW

    asyncio.run(ask())


@pytest.mark.parametrize("is_away", [True, False])
def test_a_route_that_cannot_be_read_again_is_shown_as_before_and_read_later(table, clock, store, monkeypatch, is_away):
    async def ask() -> None:
        await learn(table, clock)
        store.put(keys.route("site"), b"damaged")
        if is_away:
            monkeypatch.setattr(table, "_store", open_store(AWAY, patience_s=0))
        for _ in range(2):
            pass_time(table, clock, routes.MAX_SURE_S)
            assert shown(table) == OLD
            await until_read(table)
        monkeypatch.setattr(table, "_store", store)
        store.put(keys.route("site"), NEW.to_json())
        pass_time(table, clock, 2 * TTL_S)
        assert shown(table) == OLD
        await until_read(table)
        assert shown(table) == NEW

    asyncio.run(ask())


class Slow:
    """A store that answers when it is let, and knows how many reads wait for that."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.answers = asyncio.Event()
        self.waiting: list[str] = []

    async def get_short_async(self, key: str) -> bytes:
        self.waiting.append(key)
        await self.answers.wait()
        return await self._store.get_short_async(key)


async def until_it_waits(slow: Slow, key: str) -> None:
    while key not in slow.waiting:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_made_up_hosts_are_looked_up_few_at_once_and_hold_up_none_that_is_known_or_announced(
    table, clock, store, monkeypatch
):
    monkeypatch.setattr(table, "_refresh_timeout_s", 60)
    monkeypatch.setattr(table, "_reads", SingleFlight(60))
    store.put(keys.route("new"), NEW.to_json())
    made_up = [f"made-up-{number}" for number in range(10 * routes.MAX_UNKNOWN_AT_ONCE)]

    async def ask() -> None:
        await learn(table, clock)
        slow = Slow(store)
        table._store = slow
        strangers = [asyncio.create_task(table.find(host)) for host in made_up]
        await until_it_waits(slow, keys.route(made_up[routes.MAX_UNKNOWN_AT_ONCE - 1]))
        table.announced("new", NEW.generation)
        table.announced("site", NEW.generation)
        real = [asyncio.create_task(table.find(host)) for host in ("new", "site")]
        await until_it_waits(slow, keys.route("site"))
        assert len(slow.waiting) == routes.MAX_UNKNOWN_AT_ONCE + len(real)
        store.put(keys.route("site"), NEW.to_json())
        slow.answers.set()
        assert await asyncio.gather(*real) == [NEW, NEW]
        assert await asyncio.gather(*strangers) == [None] * len(made_up)
        assert len(slow.waiting) == len(made_up) + len(real)

    asyncio.run(ask())


def test_a_host_that_nobody_knows_yet_waits_for_nobody_who_makes_up_many_from_elsewhere(
    table, clock, store, monkeypatch
):
    monkeypatch.setattr(table, "_reads", SingleFlight(60))
    made_up = [f"made-up-{number}" for number in range(10 * routes.MAX_UNKNOWN_AT_ONCE)]

    async def ask() -> None:
        slow = Slow(store)
        table._store = slow
        strangers = [asyncio.create_task(table.find(host, "192.0.2.1")) for host in made_up]
        await until_it_waits(slow, keys.route(made_up[routes.MAX_UNKNOWN_AT_ONCE - 1]))
        real = asyncio.create_task(table.find("site", "198.51.100.1"))
        await asyncio.sleep(0)
        slow.answers.set()
        assert await real == OLD
        assert slow.waiting.index(keys.route("site")) <= routes.MAX_UNKNOWN_AT_ONCE + 1
        assert await asyncio.gather(*strangers) == [None] * len(made_up)

    asyncio.run(ask())


def test_strangers_who_leave_make_room_for_others_only_when_the_store_has_answered(table, clock, store, monkeypatch):
    monkeypatch.setattr(table, "_reads", SingleFlight(60))

    async def ask() -> None:
        await learn(table, clock)
        slow = Slow(store)
        table._store = slow
        left = [asyncio.create_task(table.find(f"left-{number}")) for number in range(routes.MAX_UNKNOWN_AT_ONCE)]
        await until_it_waits(slow, keys.route(f"left-{len(left) - 1}"))
        for visitor in left:
            visitor.cancel()
        await asyncio.wait(left)
        next_one = asyncio.create_task(table.find("next"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert keys.route("next") not in slow.waiting
        slow.answers.set()
        assert await next_one is None

    asyncio.run(ask())
