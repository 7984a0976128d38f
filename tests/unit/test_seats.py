"""Caps on what is open at once."""

from __future__ import annotations

import threading

from autostack.web.seats import Seats

LIMITS = {"process": 3, "user:a": 2}


def test_who_has_all_of_theirs_gets_no_more_until_one_is_free_again() -> None:
    seats = Seats()
    with seats.seat(LIMITS) as first, seats.seat(LIMITS) as second:
        with seats.seat(LIMITS) as third:
            assert (first, second, third) == (True, True, False)
        with seats.seat({"process": 3, "user:b": 2}) as another:
            assert another
    with seats.seat(LIMITS) as again:
        assert again


def test_a_refused_one_takes_nothing_of_anybody() -> None:
    seats = Seats()
    with seats.seat({"process": 3, "user:a": 1}):
        for _ in range(5):
            with seats.seat({"process": 3, "user:a": 1}) as refused:
                assert not refused
        with seats.seat({"process": 3, "user:b": 1}) as free:
            assert free


def test_no_more_get_in_however_many_come_at_once() -> None:
    seats, got, all_tried = Seats(), [], threading.Barrier(20)

    def come() -> None:
        with seats.seat({"process": 5}) as free:
            got.append(free)
            all_tried.wait(30)

    threads = [threading.Thread(target=come) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 15 + [True] * 5


def test_nothing_is_remembered_of_who_has_left() -> None:
    seats = Seats()
    for number in range(100):
        with seats.seat({f"address:{number}": 1}):
            pass
    assert not seats._taken
