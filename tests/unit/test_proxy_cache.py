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


def test_what_was_not_asked_for_leaves_first():
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    cache.get("a")
    cache.put("c", 3, 1)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_many_that_are_asked_for_once_do_not_drive_out_those_that_all_ask_for():
    cache: BoundedCache[int, int] = BoundedCache(100)
    for number in range(50):
        cache.put(number, number, 1)
    for number in range(100, 10_000):
        cache.put(number, number, 1)
        cache.get(number % 50)
    assert [cache.get(number) for number in range(50)] == list(range(50))


def test_what_is_no_longer_asked_for_makes_room_for_what_comes_again():
    cache: BoundedCache[int, int] = BoundedCache(10)
    for _ in range(4):
        for number in range(10):
            cache.put(number, number, 1)
            cache.get(number)
    for _ in range(8):
        for number in range(20, 28):
            if cache.get(number) is None:
                cache.put(number, number, 1)
    assert [cache.get(number) for number in range(20, 28)] == list(range(20, 28))


def test_a_value_may_be_replaced_by_one_of_another_cost():
    cache: BoundedCache[str, str] = BoundedCache(10)
    cache.put("a", "1", 2)
    cache.put("b", "1", 2)
    cache.put("a", "2", 9)
    assert (cache.get("a"), cache.get("b"), cache.cost) == ("2", None, 9)
    cache.put("a", "3", 1)
    assert (cache.get("a"), cache.cost, cache.values()) == ("3", 1, ["3"])


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
        flights: SingleFlight[str, int] = SingleFlight(timeout_s=60)
        for wrong, error, timeout_s in ((fail, OSError, 60), (lambda: asyncio.sleep(99, 1), TimeoutError, 0.02)):
            flights._timeout_s = timeout_s
            results = await asyncio.gather(*(flights.run("key", wrong) for _ in range(3)), return_exceptions=True)
            assert [type(result) for result in results] == [error] * 3
        flights._timeout_s = 60
        return await flights.run("key", lambda: asyncio.sleep(0, 7))

    assert asyncio.run(ask()) == 7


def test_a_value_that_is_not_there_is_none():
    cache: BoundedCache[str, int] = BoundedCache(1)
    assert cache.get("a") is None
    cache.discard("a")
    assert cache.cost == pytest.approx(0)
