"""The site proxy: answers visitors from the object store, whatever else is down."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import structlog
import uvloop

from autostack import logs
from autostack.errors import AutostackError, ConfigurationError
from autostack.proxy.handler import ANSWER_TIMEOUT_S, Handler
from autostack.proxy.listener import listen
from autostack.proxy.server import Server
from autostack.settings import Settings, load_settings
from autostack.sites.store import open_store

log = structlog.get_logger(__name__)


def main() -> None:
    """Serve sites until SIGTERM or SIGINT, as the environment says. Ends with 1 and one line if it cannot start."""
    try:
        settings = load_settings()
        logs.begin(settings)
        uvloop.run(serve(settings))
    except AutostackError as error:
        sys.exit(f"proxy: {error.message}")


async def serve(settings: Settings) -> None:
    """Serve sites until SIGTERM or SIGINT. Raises ConfigurationError for an address that cannot be listened on."""
    handler = Handler(open_store(settings, patience_s=ANSWER_TIMEOUT_S), settings)
    server = Server(handler, settings)
    try:
        port = await server.start(settings.proxy_host, settings.proxy_port)
    except OSError as error:
        address = f"{settings.proxy_host}:{settings.proxy_port}"
        raise ConfigurationError(f"cannot listen on {address}: {error.strerror}") from error
    listener = asyncio.create_task(listen(settings.redis_url.get_secret_value(), handler.routes))
    log.info("proxy ready", host=settings.proxy_host, port=port)
    await _until_told_to_stop()
    await server.stop()
    listener.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listener


async def _until_told_to_stop() -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()
