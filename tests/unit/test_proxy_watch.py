"""Which of the proxy's processes are taken to stand still."""

from __future__ import annotations

from autostack.proxy.workers import Watch


def test_who_shows_no_sign_of_life_for_long_stands_still():
    pulses = {0: 1.0, 1: 1.0}
    watch = Watch(pulses.__getitem__, timeout_s=4)
    for worker in pulses:
        watch.begin(worker)
    watch.standing_still([], 99)
    found = []
    for second in range(100, 106):
        pulses[1] += 1
        found.append(watch.standing_still(pulses, second))
    assert found == [[], [], [], [], [0], [0]]
    watch.begin(0)
    assert watch.standing_still(pulses, 106) == []


def test_nobody_is_blamed_for_the_time_in_which_the_whole_machine_stood_still():
    watch = Watch(lambda worker: 1.0, timeout_s=4)
    watch.begin(0)
    watch.standing_still([], 99)
    assert [watch.standing_still([0], now) for now in (100, 101, 90_000)] == [[], [], []]
