"""Routes in a real store, written by publishers that race."""

from __future__ import annotations

import random
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from autostack.settings import load_settings
from autostack.sites import keys
from autostack.sites.routes import Route, RouteInvalid, read_route, write_route
from autostack.sites.store import Store, open_store
from tests.s3 import s3_settings

ROUTE = Route("site", 5, str(uuid.uuid4()), str(uuid.uuid4()))


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(load_settings(storage_url=f"file://{tmp_path}"))
    return open_store(s3_settings(request.getfixturevalue("s3"), prefix=f"tests/{uuid.uuid4()}"))


def test_a_route_is_read_as_it_was_written(store):
    assert read_route(store, "site") is None
    assert write_route(store, ROUTE)
    assert read_route(store, "site") == ROUTE


def test_a_route_is_replaced_by_a_newer_one_only(store):
    assert write_route(store, ROUTE)
    assert write_route(store, replace(ROUTE, generation=7))
    assert not write_route(store, replace(ROUTE, generation=6))
    assert read_route(store, "site").generation == 7


def test_writing_a_route_twice_is_as_good_as_once(store):
    assert write_route(store, ROUTE)
    assert write_route(store, ROUTE)
    assert not write_route(store, replace(ROUTE, deployment_id=str(uuid.uuid4())))
    assert read_route(store, "site") == ROUTE


def test_a_tombstone_is_not_overtaken_by_a_late_publisher(store):
    assert write_route(store, replace(ROUTE, generation=8, removed=True))
    assert not write_route(store, ROUTE)
    assert read_route(store, "site").removed


def test_of_racing_publishers_the_newest_wins(store):
    generations = list(range(1, 13))
    random.Random(7).shuffle(generations)
    threads = [
        threading.Thread(target=write_route, args=(store, replace(ROUTE, generation=generation)))
        for generation in generations
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_route(store, "site").generation == 12


def test_a_damaged_route_is_told_and_not_replaced(store):
    store.put(keys.route("site"), b"{")
    with pytest.raises(RouteInvalid):
        read_route(store, "site")
    with pytest.raises(RouteInvalid):
        write_route(store, ROUTE)
