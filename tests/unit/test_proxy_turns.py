"""Turns at what only so many may do at once: everybody's own come after each other, and his before his second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from autostack.proxy.turns import Turns

Story = Callable[[Turns, list[str]], Awaitable[None]]


@pytest.fixture
def told() -> Callable[[Story], list[str]]:
    """Have a story told of one turn at a time, which is taken already; return who got one after that."""

    def tell(story: Story) -> list[str]:
        async def telling() -> list[str]:
            turns, got = Turns(1), []
            await turns.take("first")
            await story(turns, got)
            return got

        return asyncio.run(telling())

    return tell


async def ask(turns: Turns, got: list[str], *names: str) -> list[asyncio.Task[None]]:
    """Have these ask for a turn, one by one; each takes note of it under his name and number."""

    async def one(name: str) -> None:
        await turns.take(name[0])
        got.append(name)

    tasks = [asyncio.create_task(one(name)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def give_back(turns: Turns, times: int) -> None:
    for _ in range(times):
        turns.give_back()
        await asyncio.sleep(0)


def test_each_gets_one_before_anybody_gets_another(told):
    async def story(turns: Turns, got: list[str]) -> None:
        await ask(turns, got, "a1", "a2", "a3", "b1", "b2", "c1")
        await give_back(turns, 6)

    assert told(story) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_who_comes_later_is_behind_one_turn_of_each_and_no_more(told):
    async def story(turns: Turns, got: list[str]) -> None:
        await ask(turns, got, *(f"a{number}" for number in range(1, 100)))
        await give_back(turns, 2)
        await ask(turns, got, "b1")
        await give_back(turns, 2)

    assert told(story) == ["a1", "a2", "a3", "b1"]


def test_who_leaves_takes_nobodys_turn_with_him(told):
    async def story(turns: Turns, got: list[str]) -> None:
        a1, a2, _, b1, _ = await ask(turns, got, "a1", "a2", "a3", "b1", "b2")
        a2.cancel()
        await asyncio.sleep(0)
        # Before it hears of that, and just as its turn has come.
        a1.cancel()
        turns.give_back()
        b1.cancel()
        await asyncio.sleep(0)
        await give_back(turns, 2)

    assert told(story) == ["a3", "b2"]


def test_what_nobody_waits_for_is_free(told):
    async def story(turns: Turns, got: list[str]) -> None:
        (left,) = await ask(turns, got, "a1")
        left.cancel()
        turns.give_back()
        await ask(turns, got, "b1", "c1")
        await give_back(turns, 1)

    assert told(story) == ["b1", "c1"]
