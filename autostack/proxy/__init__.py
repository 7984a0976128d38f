"""The site proxy: answers visitors from the object store, whatever else is down."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import NamedTuple

import structlog
import uvloop

from autostack import logs
from autostack.errors import AutostackError, ConfigurationError
from autostack.proxy.attempts import Buckets
from autostack.proxy.handler import Handler
from autostack.proxy.listener import listen, look_for_missed
from autostack.proxy.metrics import METER, Board, tell
from autostack.proxy.reports import Reporter
from autostack.proxy.server import Server
from autostack.proxy.workers import STOP_SIGNALS, Watch, Workers, bind
from autostack.settings import Settings, load_settings
from autostack.sites.store import open_store

log = structlog.get_logger(__name__)


class Shared(NamedTuple):
    """What workers have together: where they publish what they counted, the socket, if any, where they tell it, and
    what each visitor has left of his attempts.
    """

    board: Board
    listening: socket.socket | None
    buckets: Buckets


def main() -> None:
    """Serve sites until SIGTERM or SIGINT, as the environment says. Ends with 1 and one line if it cannot start."""
    try:
        settings = load_settings()
        logs.begin(settings)
        if settings.country_header and not settings.proxy_trusted:
            log.warning("COUNTRY_HEADER is believed of nobody: PROXY_TRUSTED is empty")
        sockets = _bind(settings)
        shared = Shared(Board(len(sockets)), _bind_metrics(settings), Buckets())

        def work(own: list[socket.socket], lifeline: int) -> None:
            METER.share(shared.board.of(sockets.index(own)))
            uvloop.run(serve(settings, own, shared, lifeline))

        watch = Watch(shared.board.pulse, settings.proxy_hang_timeout_s)
        Workers(sockets, work, watch, settings.proxy_drain_timeout_s).run()
    except AutostackError as error:
        sys.exit(f"proxy: {error.message}")


def _bind(settings: Settings) -> list[list[socket.socket]]:
    try:
        return bind(settings.proxy_host, settings.proxy_port, settings.proxy_workers)
    except OSError as error:
        address = f"{settings.proxy_host}:{settings.proxy_port}"
        raise ConfigurationError(f"cannot listen on {address}: {error.strerror}") from error


def _bind_metrics(settings: Settings) -> socket.socket | None:
    if settings.proxy_metrics_port is None:
        return None
    host, port = settings.proxy_metrics_host, settings.proxy_metrics_port
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port} for metrics: {error.strerror}") from error


async def serve(settings: Settings, sockets: list[socket.socket], shared: Shared, lifeline: int) -> None:
    """Serve sites on these sockets until SIGTERM or SIGINT, or until the file `lifeline` can be read from."""
    store = open_store(settings, patience_s=settings.proxy_answer_timeout_ms / 1000)
    handler = Handler(store, settings, shared.buckets)
    server = Server(handler, settings)
    port = await server.start(sockets)
    reporter = Reporter(server.counts, handler.limits, store, settings)
    tasks = [
        asyncio.create_task(listen(settings.redis_url.get_secret_value(), handler.routes)),
        asyncio.create_task(look_for_missed(store, handler.routes, settings.route_ttl_ms / 2000)),
        asyncio.create_task(reporter.run()),
    ]
    if shared.listening is not None:
        tasks.append(asyncio.create_task(tell(shared.board, shared.listening)))
    log.info("proxy ready", host=settings.proxy_host, port=port)
    await _until_told_to_stop(lifeline)
    await server.stop()
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            # It ended long ago; the last counts still have to go out.
            log.error("a task of the proxy had ended", exc_info=ended)
    await reporter.stop()


async def _until_told_to_stop(lifeline: int) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, told.set)
    loop.add_reader(lifeline, told.set)
    await told.wait()
    loop.remove_reader(lifeline)
