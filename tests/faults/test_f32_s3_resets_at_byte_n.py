"""32. S3 connection reset at byte N, for many N → retried, no partial activation. The store's half."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from autostack.sites.errors import StoreUnavailable
from autostack.sites.routes import Route, read_route, write_route
from autostack.sites.store import PART_BYTES, open_store
from tests.chaos import Chaos
from tests.s3 import S3Server, s3_settings

MANY_N = [1, 100, 400, 700, 5_000, 70_000, 1_000_000, PART_BYTES + 10, 2 * PART_BYTES]


@contextmanager
def healed_after_the_first_reset(chaos: Chaos) -> Iterator[None]:
    """Pass everything on as soon as one connection was reset, and from the block's end on in any case."""
    seen, done = chaos.resets, threading.Event()

    def wait() -> None:
        while chaos.resets == seen and not done.wait(0.005):
            pass
        chaos.heal()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("n", MANY_N)
def test_f32_an_object_is_whole_or_not_there(s3: S3Server, n):
    prefix = f"tests/{uuid.uuid4()}"
    data = bytes(range(251)) * (2 * PART_BYTES // 251 + 1)
    direct = open_store(s3_settings(s3, prefix))
    with Chaos(s3.port) as chaos:
        store = open_store(s3_settings(s3.through(chaos.port), prefix))
        chaos.reset_after(n)
        with healed_after_the_first_reset(chaos):
            try:
                store.put_stream("blob", [data])
            except StoreUnavailable:
                # A request of an upload in parts is not repeated once its body has left; the agent asks anew.
                assert direct.size("blob") is None
                chaos.heal()
                store.put_stream("blob", [data])
        assert direct.get("blob") == data


@pytest.mark.parametrize("n", range(0, 1500, 150))
def test_f32_a_route_is_the_old_or_the_new_one(s3: S3Server, n):
    prefix = f"tests/{uuid.uuid4()}"
    direct = open_store(s3_settings(s3, prefix))
    old = Route("site", 1, str(uuid.uuid4()), str(uuid.uuid4()))
    new = Route("site", 2, old.project_id, str(uuid.uuid4()))
    write_route(direct, old)
    with Chaos(s3.port) as chaos:
        through = s3_settings(s3.through(chaos.port), prefix)
        store = open_store(through, patience_s=0.5)
        chaos.reset_after(n)
        try:
            written = write_route(store, new)
        except StoreUnavailable:
            written = False
        assert read_route(direct, "site") in (old, new)
        assert read_route(direct, "site") == new or not written
        chaos.heal()
        assert write_route(open_store(through), new)
    assert read_route(direct, "site") == new


@pytest.mark.parametrize("is_first", [True, False])
# The route has been read by then, and the write is under way.
@pytest.mark.parametrize("n", range(1300, 2100, 200))
def test_f32_a_route_is_written_in_spite_of_a_reset(s3: S3Server, n, is_first):
    prefix = f"tests/{uuid.uuid4()}"
    old = Route("site", 1, str(uuid.uuid4()), str(uuid.uuid4()))
    new = Route("site", 2, old.project_id, str(uuid.uuid4()))
    direct = open_store(s3_settings(s3, prefix))
    if not is_first:
        write_route(direct, old)
    with Chaos(s3.port) as chaos:
        store = open_store(s3_settings(s3.through(chaos.port), prefix))
        chaos.reset_after(n)
        with healed_after_the_first_reset(chaos):
            assert write_route(store, new)
    assert read_route(direct, "site") == new


@pytest.mark.parametrize("n", [300, 2_000, 500_000])
def test_f32_a_read_that_breaks_off_is_an_error_and_not_a_short_file(s3: S3Server, n):
    prefix = f"tests/{uuid.uuid4()}"
    data = b"x" * 3_000_000
    open_store(s3_settings(s3, prefix)).put("blob", data)
    with Chaos(s3.port) as chaos:
        through = s3_settings(s3.through(chaos.port), prefix)
        store = open_store(through, patience_s=0.5)
        chaos.reset_after(n)
        try:
            assert store.get("blob") == data
        except StoreUnavailable:
            chaos.heal()
            assert open_store(through).get("blob") == data
