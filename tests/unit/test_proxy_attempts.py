"""How often somebody may try: counted by all of the proxy's processes together, in as much memory however many try."""

from __future__ import annotations

import multiprocessing

import pytest

from autostack.proxy.attempts import SLOTS_A_SET, Attempts, Buckets


def test_some_attempts_are_free_at_once_and_others_come_back_with_time():
    attempts = Attempts("visitor", 3, 0.5, Buckets())
    assert [attempts.take("a", 100) for _ in range(5)] == [True] * 3 + [False] * 2
    assert [attempts.take("a", 104), attempts.take("a", 104), attempts.take("a", 104)] == [True, True, False]
    assert [attempts.take("a", 1_000) for _ in range(4)] == [True] * 3 + [False]
    assert attempts.take("b", 104), "nobody takes another's"


def test_kinds_are_told_apart():
    buckets = Buckets()
    first, second = (Attempts(name, 1, 0, buckets) for name in ("visitor", "site"))
    assert [first.take("a", 1), second.take("a", 1), first.take("a", 1)] == [True, True, False]


def test_whoever_he_asks_of_several_processes_he_has_the_same_left():
    attempts = Attempts("visitor", 5, 0, Buckets())
    context = multiprocessing.get_context("fork")
    taken = context.SimpleQueue()

    def try_often() -> None:
        taken.put(sum(attempts.take("a", 100) for _ in range(2)))

    for _ in range(4):
        worker = context.Process(target=try_often)
        worker.start()
        worker.join()
    assert [taken.get() for _ in range(4)] == [2, 2, 1, 0]


def test_who_tries_all_the_time_is_not_forgotten_for_those_who_come_once():
    attempts = Attempts("site", 1, 0, Buckets(sets=1))
    assert attempts.take("attacked", 1)
    for number in range(10 * SLOTS_A_SET):
        attempts.take(f"visitor {number}", 2 + number)
        assert not attempts.take("attacked", 2.5 + number)


@pytest.mark.parametrize("who", ["", "x" * 10_000, "ä \0"])
def test_anybody_has_a_place(who):
    attempts = Attempts("visitor", 1, 0, Buckets(sets=3))
    assert [attempts.take(who, 1), attempts.take(who, 1)] == [True, False]
