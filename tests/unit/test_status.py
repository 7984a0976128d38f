"""The moves between a deployment's states."""

from __future__ import annotations

import pytest

from autostack.deployments.status import IN_PROGRESS, MOVES, Status, sources_of


def test_every_state_is_in_the_table():
    assert set(MOVES) == set(Status)


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED, Status.CANCELLED])
def test_nothing_leaves_an_end(status):
    assert status.is_final
    assert MOVES[status] == frozenset()


@pytest.mark.parametrize("status", sorted(IN_PROGRESS))
def test_whatever_is_in_progress_can_fail_and_be_cancelled(status):
    assert {Status.FAILED, Status.CANCELLED} <= MOVES[status]


def test_success_comes_from_deploying_alone():
    assert sources_of(Status.SUCCESS) == [Status.DEPLOYING]


def test_only_a_lost_build_goes_back():
    assert sources_of(Status.QUEUED) == [Status.BUILDING]
