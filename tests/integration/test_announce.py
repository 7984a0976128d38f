"""Activation as visitors see it: announcements over a real Valkey, with and without proxies that hear them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from autostack.settings import load_settings
from autostack.sites import keys
from autostack.sites.announce import CHANNEL, Announcement, announce, make_visible
from autostack.sites.store import Store, open_store
from tests.s3 import free_port
from tests.services import running_valkey
from tests.sites import PATIENCE_S, Proxy, awaited, publish, running_proxy

# So long that a test would notice if it were waited for.
ROUTE_TTL_S = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("announce")


@pytest.fixture(scope="module")
def redis_url(folder: Path) -> Iterator[str]:
    with running_valkey(folder) as url:
        yield url


@pytest.fixture(scope="module")
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return open_store(load_settings(storage_url=f"file://{folder}/store"))


@pytest.fixture
def environment(folder: Path, redis_url: str) -> dict[str, object]:
    return {"STORAGE_URL": f"file://{folder}/store", "REDIS_URL": redis_url, "ROUTE_TTL": ROUTE_TTL_S * 1000}


def wait_for_listeners(redis: Redis, count: int) -> None:
    awaited(lambda: redis.pubsub_numsub(CHANNEL)[0][1] == count)


def announce_to_all(redis: Redis, listeners: int, generations: dict[str, int]) -> None:
    """Announce, and hear from every proxy. On a busy machine one may just connect anew: it is told then."""

    def is_heard() -> bool:
        wait_for_listeners(redis, listeners)
        return announce(redis, generations, timeout_s=PATIENCE_S / 3)

    awaited(is_heard)


@pytest.fixture
def two_proxies(folder: Path, environment: dict[str, object], redis: Redis) -> Iterator[list[Proxy]]:
    # Redis may take those of the test before for listeners a moment longer.
    wait_for_listeners(redis, 0)
    with running_proxy(folder, environment) as one, running_proxy(folder, environment) as other:
        wait_for_listeners(redis, 2)
        yield [one, other]


def test_after_an_announcement_every_proxy_shows_the_new_site(two_proxies, store, redis):
    for generation in range(1, 30):
        body = str(generation).encode()
        publish(store, "site", {"/index.html": body}, generation=generation)
        announce_to_all(redis, 2, {"site": generation, "other": 1})
        assert [proxy.get("/").body for proxy in two_proxies] == [body, body]


def test_a_fresh_route_is_not_looked_up_again_and_an_announcement_ends_that(two_proxies, store, redis):
    # Where the machine is busy, signs of life may come too late, and the proxy asks the store after all.
    kept = next(host for host in map("kept-{}".format, range(10)) if _is_not_looked_up(two_proxies[0], store, host))
    announce(redis, {kept: 2}, timeout_s=PATIENCE_S)
    assert two_proxies[0].get("/", host=f"{kept}.localhost").body == b"2"


def _is_not_looked_up(proxy: Proxy, store: Store, host: str) -> bool:
    """Publish a site twice, the second time without a word; tell whether the first one is still served."""
    publish(store, host, {"/index.html": b"1"}, generation=1)
    assert proxy.get("/", host=f"{host}.localhost").body == b"1"
    publish(store, host, {"/index.html": b"2"}, generation=2)
    return proxy.get("/", host=f"{host}.localhost").body == b"1"


def test_a_host_that_was_unknown_appears(two_proxies, store, redis):
    assert two_proxies[0].get("/", host="late.localhost").status == 404
    publish(store, "late", {"/index.html": b"1"})
    announce(redis, {"late": 1}, timeout_s=PATIENCE_S)
    assert two_proxies[0].get("/", host="late.localhost").body == b"1"


def test_a_proxy_that_does_not_answer_is_not_counted_on(two_proxies, redis):
    two_proxies[1].worker.suspend()
    begun = time.monotonic()
    assert not announce(redis, {"site": 100}, timeout_s=0.5)
    assert time.monotonic() - begun >= 0.5
    two_proxies[1].worker.resume()


def test_nobody_listening_means_that_nobody_said_so(redis):
    wait_for_listeners(redis, 0)
    assert not announce(redis, {"site": 1}, timeout_s=1)


def test_without_redis_the_time_to_live_is_waited_out(store):
    with Redis(port=free_port(), retry=Retry(NoBackoff(), 0)) as nobody:
        assert not announce(nobody, {"site": 1}, timeout_s=1)
        begun = time.monotonic()
        make_visible(nobody, store, {"site": 1}, timeout_s=1, route_ttl_s=0.3)
        assert time.monotonic() - begun >= 0.3


def test_a_proxy_cut_off_from_redis_asks_the_store_and_hears_again_later(folder, environment, store, tmp_path):
    with running_valkey(tmp_path) as url, running_proxy(folder, {**environment, "REDIS_URL": url}) as proxy:
        with Redis.from_url(url) as own:
            wait_for_listeners(own, 1)
        publish(store, "cut", {"/index.html": b"1"}, generation=1)
        assert proxy.get("/", host="cut.localhost").body == b"1"
        # Everyone is cut off when connections are killed; the proxy comes back by itself.
        with Redis.from_url(url) as own:
            own.client_kill_filter(_type="pubsub")
            publish(store, "cut", {"/index.html": b"2"}, generation=2)
            awaited(lambda: proxy.get("/", host="cut.localhost").body == b"2")
            wait_for_listeners(own, 1)
            publish(store, "cut", {"/index.html": b"3"}, generation=3)
            announce_to_all(own, 1, {"cut": 3})
        assert proxy.get("/", host="cut.localhost").body == b"3"


def test_who_cannot_announce_is_heard_by_way_of_the_store(folder, environment, redis, store):
    """The proxy hears Redis well, and the publisher does not reach it."""
    with running_proxy(folder, {**environment, "ROUTE_TTL": 1_000}) as proxy:
        wait_for_listeners(redis, 1)
        for generation in range(1, 4):
            body = b"%d" % generation
            publish(store, "word", {"/index.html": body}, generation=generation)
            with Redis(port=free_port(), retry=Retry(NoBackoff(), 0)) as nobody:
                make_visible(nobody, store, {"word": generation}, timeout_s=1, route_ttl_s=1)
            assert proxy.get("/", host="word.localhost").body == body


def test_a_route_stays_fresh_while_no_newer_one_can_have_been_missed(folder, environment, redis, store):
    with running_proxy(folder, {**environment, "ROUTE_TTL": 500}) as proxy:
        wait_for_listeners(redis, 1)
        # Where the machine is busy, signs of life may come too late, and the proxy asks the store after all.
        kept = next(host for host in map("quiet-{}".format, range(10)) if _is_served_unseen(proxy, store, host))
        announce(redis, {kept: 2}, timeout_s=PATIENCE_S)
        assert proxy.get("/", host=f"{kept}.localhost").status == 404


def _is_served_unseen(proxy: Proxy, store: Store, host: str) -> bool:
    """Publish a site, and tell whether it is served for several times to live after its route is gone."""
    route = publish(store, host, {"/index.html": b"1"})
    assert proxy.get("/", host=f"{host}.localhost").body == b"1"
    # Time enough for the first signs of life, and for several times to live.
    time.sleep(1.5)
    store.delete(keys.route(route.host))
    for _ in range(10):
        if proxy.get("/", host=f"{host}.localhost").body != b"1":
            return False
        time.sleep(0.1)
    return True


def test_with_redis_gone_new_sites_are_seen_at_once(folder, environment, store):
    given = {**environment, "REDIS_URL": f"redis://127.0.0.1:{free_port()}"}
    with running_proxy(folder, given) as proxy:
        for generation in range(1, 4):
            publish(store, "alone", {"/index.html": b"%d" % generation}, generation=generation)
            assert proxy.get("/", host="alone.localhost").body == b"%d" % generation


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"generations": {"a": "x"}, "replyTo": "autostack:routes:replies:1"}',
        b'{"generations": {}, "replyTo": "autostack:sessions:1"}',
        b'{"generations": {"a": 1}}',
    ],
)
def test_what_is_no_announcement_is_passed_over(data, two_proxies, redis):
    assert Announcement.from_json(data) is None
    redis.publish(CHANNEL, data)
    announce_to_all(redis, 2, {"site": 1})
