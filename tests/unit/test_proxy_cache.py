"""Memory with a bound, and reads that many share."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostack.proxy.cache import BoundedCache, SingleFlight


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 150)), max_size=100))
def test_the_bound_holds_and_the_newest_is_always_there(puts):
    cache: BoundedCache[int, str] = BoundedCache(100)
    for key, cost in puts:
        cache.put(key, str(key), cost)
        assert cache.cost <= 100
        assert cache.get(key) == str(key)
    for key in range(21):
        cache.discard(key)
    assert (cache.cost, len(cache)) == (0, 0)


def test_what_was_longest_unused_leaves_first():
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    cache.get("a")
    cache.put("c", 3, 1)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_a_thousand_who_ask_at_once_cause_one_read():
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0.01)
        return 7

    async def ask() -> list[int]:
        flights: SingleFlight[str, int] = SingleFlight()
        return await asyncio.gather(*(flights.run("key", read) for _ in range(1000)))

    assert asyncio.run(ask()) == [7] * 1000
    assert reads == 1


def test_one_who_leaves_does_not_end_the_read_for_the_others():
    async def ask() -> int:
        flights: SingleFlight[str, int] = SingleFlight()
        first = asyncio.create_task(flights.run("key", lambda: asyncio.sleep(0.02, 7)))
        second = asyncio.create_task(flights.run("key", lambda: asyncio.sleep(0, 8)))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(ask()) == 7


def test_a_failed_or_stalled_read_is_told_to_all_and_tried_anew():
    async def fail() -> int:
        raise OSError("gone")

    async def ask() -> int:
        flights: SingleFlight[str, int] = SingleFlight(timeout_s=0.02)
        for wrong, error in ((fail, OSError), (lambda: asyncio.sleep(9, 1), TimeoutError)):
            results = await asyncio.gather(*(flights.run("key", wrong) for _ in range(3)), return_exceptions=True)
            assert [type(result) for result in results] == [error] * 3
        return await flights.run("key", lambda: asyncio.sleep(0, 7))

    assert asyncio.run(ask()) == 7


def test_a_value_that_is_not_there_is_none():
    cache: BoundedCache[str, int] = BoundedCache(1)
    assert cache.get("a") is None
    cache.discard("a")
    assert cache.cost == pytest.approx(0)
