"""Reporting what a proxy counted: what is kept while nobody takes it, and that nothing ends it."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import uuid

import pytest
from pydantic import SecretStr

from autostack.proxy import reports
from autostack.proxy.counts import Counts
from autostack.proxy.limits import Limits
from autostack.proxy.messages import Request
from autostack.proxy.reports import Reporter
from autostack.settings import load_settings
from autostack.sites import keys
from autostack.sites.routes import Route
from autostack.sites.store import open_store
from autostack.sites.traffic import Batch

PROJECT = str(uuid.uuid4())


@pytest.fixture
def settings(tmp_path):
    # Nobody listens there: what is sent goes to the store.
    redis_url = f"unix://{tmp_path}/nobody.sock"
    return load_settings(
        redis_url=redis_url,
        database_url="postgresql://",
        data_dir=tmp_path,
        storage_url=f"file://{tmp_path}/store",
        traffic_interval_s=1,
    )


@pytest.fixture
def store(settings):
    return open_store(settings)


def note(counts, paths):
    for number in range(paths):
        asked = Request(b"GET", b"/%d" % number + b"x" * 150, b"", "site.localhost", {})
        counts.note(Route("site", 1, PROJECT, str(uuid.uuid4())), asked, b"200", 1)


def stored(store):
    """Return the requests and names that arrived."""
    batches = [Batch.from_json(store.get(name)) for name in store.names(keys.TRAFFIC_BATCHES)]
    sites = [site for batch in batches for site in batch.sites]
    return sum(site.requests for site in sites), sum(len(names) for site in sites for names in site.top.values())


async def report_often(counts, settings, store, times):
    """Report so often while nobody takes it, and once when the store does."""
    reporter = Reporter(counts, Limits(1_000), store, settings)
    # A file where the store wants a folder: nothing can be put there.
    obstacle = settings.data_dir / "store" / "traffic"
    obstacle.write_text("")
    for _ in range(times):
        note(counts, 50)
        await reporter.report()
    obstacle.unlink()
    await reporter.report()


def test_what_waits_for_long_loses_its_names_before_its_sums(settings, store, monkeypatch):
    monkeypatch.setattr(reports, "MAX_WAITING_BYTES", 20_000)
    asyncio.run(report_often(Counts(), settings, store, 5))
    assert stored(store) == (250, 100)


def test_what_waits_for_too_long_gives_way(settings, store, monkeypatch):
    monkeypatch.setattr(reports, "MAX_WAITING_BYTES", 2_000)
    asyncio.run(report_often(Counts(), settings, store, 20))
    requests, names = stored(store)
    assert 0 < requests < 1_000
    assert names == 0


def test_more_than_may_wait_is_sent_whole_where_it_is_taken(settings, store, monkeypatch):
    monkeypatch.setattr(reports, "MAX_WAITING_BYTES", 2_000)
    counts = Counts()
    note(counts, 90)
    asyncio.run(Reporter(counts, Limits(1_000), store, settings).report())
    assert stored(store) == (90, 90)


def test_a_report_that_fails_as_nobody_thought_of_ends_no_later_one(settings, store):
    now = dt.datetime.now(dt.UTC)
    times = iter([now, None, now])

    def clock():
        if (time := next(times)) is None:
            raise OverflowError("the clock is beyond all dates")
        return time

    async def report_until_it_arrives():
        counts = Counts(clock)
        note(counts, 3)
        reporting = asyncio.create_task(Reporter(counts, Limits(1_000), store, settings).run())
        # A folder tells nobody what came into it.
        while not reporting.done() and not list(store.names(keys.TRAFFIC_BATCHES)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        reporting.cancel()

    asyncio.run(asyncio.wait_for(report_until_it_arrives(), 20))
    assert stored(store) == (3, 3)


def test_the_last_report_is_sent_where_it_is_taken_and_ends_without_an_error_where_it_is_not(
    settings, store, capsys, caplog
):
    async def stop(counts):
        note(counts, 3)
        await Reporter(counts, Limits(1_000), store, settings).stop()

    asyncio.run(stop(Counts()))
    assert stored(store) == (3, 3)
    shutil.rmtree(settings.data_dir / "store" / "traffic")
    (settings.data_dir / "store" / "traffic").write_text("")
    asyncio.run(stop(Counts()))
    # On the output, or where an earlier test set logging up.
    assert "the last counts are lost" in capsys.readouterr().out + caplog.text


def test_a_redis_that_never_answers_lets_the_last_report_end(settings, store, monkeypatch):
    monkeypatch.setattr(reports, "LAST_REPORT_TIMEOUT_S", 0.3)

    async def stop():
        silent = await asyncio.start_server(lambda reader, writer: reader.read(), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        counts = Counts()
        note(counts, 3)
        asked = settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{port}")})
        await Reporter(counts, Limits(1_000), store, asked).stop()
        silent.close()

    asyncio.run(asyncio.wait_for(stop(), 20))


def test_an_error_that_nobody_thought_of_does_not_keep_a_proxy_from_ending(settings, store):
    now = dt.datetime.now(dt.UTC)
    times = iter([now])

    async def stop():
        counts = Counts(lambda: next(times))
        note(counts, 3)
        await Reporter(counts, Limits(1_000), store, settings).stop()

    asyncio.run(stop())
