"""Settings that nothing else is about: each is seen where it has its effect, and no test waits for a time to pass."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autostack.deployments import hosts
from autostack.extensions import redis
from autostack.proxy import _bind_metrics
from autostack.proxy.attempts import Buckets
from autostack.proxy.disk import open_disk
from autostack.proxy.handler import Handler
from autostack.proxy.server import Server
from autostack.queue import CONTROL
from autostack.settings import Settings, load_settings
from autostack.sites.store import open_store
from autostack.worker import AppWorker
from tests.builders import build, publish
from tests.conftest import AppMaker
from tests.integration.proxy.messages import GET_BIG
from tests.people import Api
from tests.s3 import free_port
from tests.sites import PATIENCE_S
from tests.sites import publish as put_live

# More than the kernel takes of an answer that nobody reads.
BIG = b"x" * 40_000_000
# An S3 that is opened and not asked.
AWAY = {"storage_url": "s3://bucket/prefix", "s3_endpoint_url": "http://127.0.0.1:1"}


@pytest.fixture
def proxy_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Return a proxy's settings, for a store in a folder unless it is said."""

    def make(**overrides: Any) -> Settings:
        return load_settings(**{"storage_url": f"file://{tmp_path}/store", "data_dir": tmp_path, **overrides})

    return make


class TestActivation:
    def test_proxies_are_waited_for_as_long_as_is_set(
        self, make_app: AppMaker, api: Api, project: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app, waits = make_app(activation_timeout_ms=7_500), []
        monkeypatch.setattr(hosts, "make_visible", lambda *given: waits.append(given[3]))
        id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
        build(app, id, {"/index.html": b"hi"})
        publish(app, id)
        assert set(waits) == {7.5}
        with app.app_context():
            assert redis().connection_pool.connection_kwargs["socket_timeout"] > 7.5


class TestTheWorker:
    def test_a_running_job_is_given_as_long_as_is_set_to_end(self, make_app: AppMaker) -> None:
        worker = AppWorker(make_app(shutdown_grace_s=3_000), CONTROL)
        worker.handle_warm_shutdown_request()
        timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
        [timer] = [timer for timer in timers if timer.function == worker._end_horse]
        timer.cancel()
        assert timer.interval == 3_000


class TestTheProxy:
    def test_what_it_remembers_has_as_much_memory_as_is_set(self, proxy_settings: Callable[..., Settings]) -> None:
        settings = proxy_settings(proxy_cache_mb=16)
        handler = Handler(open_store(settings), settings, Buckets())
        caches = (handler._blobs._kept, handler._manifests._kept, handler._formers._assets)
        # Of answers that are prepared there are two generations.
        prepared = 2 * handler._prepared._max_young
        assert sum(cache.max_cost for cache in caches) + prepared == 16_000_000

    def test_its_disk_cache_is_as_large_as_is_set(self, proxy_settings: Callable[..., Settings]) -> None:
        settings = proxy_settings(**AWAY, proxy_disk_cache_mb=4)
        disk = open_disk(settings, open_store(settings))
        assert disk is not None
        for number in range(8):
            disk.write(f"{number:064x}", b"x" * 1_000_000)
        kept = [path for path in settings.proxy_cache_folder.rglob("0*") if path.is_file()]
        assert 1 <= len(kept) <= 4

    def test_it_keeps_nothing_on_the_disk_where_that_is_set(self, proxy_settings: Callable[..., Settings]) -> None:
        settings = proxy_settings(**AWAY, proxy_disk_cache_mb=0)
        assert open_disk(settings, open_store(settings)) is None

    @pytest.mark.parametrize(("given", "folder"), [({"proxy_cache_dir": "elsewhere"}, "elsewhere"), ({}, "proxy")])
    def test_what_it_keeps_is_in_the_folder_that_is_set(
        self, tmp_path: Path, proxy_settings: Callable[..., Settings], given: dict[str, str], folder: str
    ) -> None:
        settings = proxy_settings(**AWAY, **{name: tmp_path / value for name, value in given.items()})
        Handler(open_store(settings), settings, Buckets())
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")) == [
            f"{folder}/files",
            f"{folder}/routes",
        ]

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
    def test_its_metrics_are_told_at_the_address_that_is_set(
        self, proxy_settings: Callable[..., Settings], host: str
    ) -> None:
        settings = proxy_settings(proxy_metrics_host=host, proxy_metrics_port=free_port())
        listening = _bind_metrics(settings)
        assert listening is not None
        with listening:
            assert listening.getsockname() == (host, settings.proxy_metrics_port)

    @pytest.mark.parametrize(("drain_s", "is_whole"), [(0, False), (3_000, True)])
    def test_when_it_ends_visitors_have_as_long_as_is_set(
        self, proxy_settings: Callable[..., Settings], drain_s: int, is_whole: bool
    ) -> None:
        settings = proxy_settings(proxy_drain_timeout_s=drain_s)
        store = open_store(settings)
        put_live(store, "site", {"/big.bin": BIG})

        async def visit() -> int:
            server = Server(Handler(store, settings, Buckets()), settings)
            (listening := socket.socket()).bind(("127.0.0.1", 0))
            reader, writer = await asyncio.open_connection("127.0.0.1", await server.start([listening]))
            writer.write(GET_BIG)
            await reader.readuntil(b"\r\n\r\n")
            ending, received = asyncio.create_task(server.stop()), 0
            if not is_whole:
                # Nobody reads meanwhile: what is set by default would be over later.
                await asyncio.wait_for(ending, Settings.model_fields["proxy_drain_timeout_s"].default / 2)
            with contextlib.suppress(ConnectionResetError):
                while part := await reader.read(1_000_000):
                    received += len(part)
            await ending
            writer.close()
            return received

        received = asyncio.run(asyncio.wait_for(visit(), PATIENCE_S))
        assert (received == len(BIG)) == is_whole
