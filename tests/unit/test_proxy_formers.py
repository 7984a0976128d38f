"""What former deployments lend, in bounded memory, each of them read once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import pytest

from autostack.proxy.formers import MANY_AT_ONCE, Formers, Unread
from autostack.sites.errors import ObjectNotFound, StoreUnavailable
from autostack.sites.manifest import Manifest
from autostack.sites.routes import Route
from tests.sites import make_manifest

PROJECT = str(uuid.uuid4())


class Store:
    """The manifests of deployments that have these paths, the newest first, and which of them were read."""

    def __init__(self, deployments: Sequence[Sequence[str]]) -> None:
        self._manifests = {str(uuid.uuid4()): make_manifest(paths) for paths in deployments}
        self.route = Route("site", 1, PROJECT, str(uuid.uuid4()), former=tuple(self._manifests))
        self.reads: list[str] = []

    async def read(self, project_id: str, id: str) -> Manifest:
        assert project_id == PROJECT
        self.reads.append(id)
        return self._manifests[id]


def script(number: int) -> str:
    return f"/assets/app-{number:06x}a1.js"


def test_a_missing_file_is_looked_for_in_a_few_at_a_time_and_each_is_read_once():
    store = Store([[script(number), "/same-00ffee11.js"] for number in range(20)])
    formers = Formers(store.read, 1_000_000)
    with pytest.raises(Unread):
        formers.find_now(store.route, script(3))
    assert asyncio.run(formers.find(store.route, script(3))) is not None
    assert len(store.reads) == MANY_AT_ONCE
    assert asyncio.run(formers.find(store.route, script(99))) is None
    assert formers.find_now(store.route, script(19)) is not None
    assert formers.find_now(store.route, script(99)) is None
    assert len(store.reads) == 20


def test_only_files_that_say_what_is_in_them_are_lent():
    store = Store([["/app.js", "/about.html", script(1)]])
    formers = Formers(store.read, 1_000_000)
    assert asyncio.run(formers.find(store.route, "/app.js")) is None
    assert formers.find_now(store.route, "/about.html") is None


def test_very_many_do_not_drive_out_each_other():
    same = [script(number) for number in range(1000, 1050)]
    store = Store([[script(number), *same] for number in range(200)])
    formers = Formers(store.read, 500_000)
    asyncio.run(formers.find(store.route, script(999)))
    read = len(store.reads)
    assert 20 < read < 100, "the oldest lend nothing"
    assert formers.find_now(store.route, script(999)) is None
    assert formers.find_now(store.route, script(read - MANY_AT_ONCE)) is not None
    assert len(store.reads) == read


def test_one_that_is_gone_is_passed_over_and_not_asked_for_again():
    store = Store([[script(1)]])
    reads = []

    async def gone_first(project_id: str, id: str) -> Manifest:
        reads.append(id)
        if id != store.route.former[0]:
            raise ObjectNotFound("gone")
        return await store.read(project_id, id)

    route = Route("site", 1, PROJECT, str(uuid.uuid4()), former=(str(uuid.uuid4()), *store.route.former))
    formers = Formers(gone_first, 1_000_000)
    for _ in range(2):
        assert asyncio.run(formers.find(route, script(1))) is not None
    assert len(reads) == 2


def test_those_that_are_read_at_once_wait_for_one_answer_of_the_store():
    store = Store([[script(number)] for number in range(3 * MANY_AT_ONCE)])
    waiting: list[asyncio.Future[None]] = []

    async def slowly(project_id: str, id: str) -> Manifest:
        waiting.append(asyncio.get_running_loop().create_future())
        await waiting[-1]
        return await store.read(project_id, id)

    async def find() -> int:
        looked_for = asyncio.create_task(Formers(slowly, 1_000_000).find(store.route, script(2 * MANY_AT_ONCE + 1)))
        answers = 0
        while not looked_for.done():
            await asyncio.sleep(0)
            if len(waiting) % MANY_AT_ONCE == 0 and waiting and not waiting[-1].done():
                answers += 1
                for answer in waiting[-MANY_AT_ONCE:]:
                    answer.set_result(None)
        assert await looked_for is not None
        return answers

    assert asyncio.run(find()) == 3


def test_what_was_read_before_one_that_cannot_be_is_kept():
    store = Store([[script(number)] for number in range(3)])
    tries = []

    async def failing_once(project_id: str, id: str) -> Manifest:
        tries.append(id)
        if len(tries) == 2:
            raise StoreUnavailable("away")
        return await store.read(project_id, id)

    formers = Formers(failing_once, 1_000_000)
    with pytest.raises(StoreUnavailable):
        asyncio.run(formers.find(store.route, script(1)))
    assert asyncio.run(formers.find(store.route, script(1))) is not None
    assert tries.count(store.route.former[0]) == 1
