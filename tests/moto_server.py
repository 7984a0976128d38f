"""AWS's APIs as moto answers them, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "test-key", "aws_secret_access_key": "test-secret"}


class Moto:
    """A running moto server. `url` is where each service is."""

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, service: str) -> Any:
        """Return a client of one of AWS's services."""
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", **KEYS)


@contextmanager
def running_moto() -> Iterator[Moto]:
    """Run moto until the block ends."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Moto(f"http://{host}:{port}")
    finally:
        server.stop()
