"""Sites for tests: publish files into a store as the platform does, and a proxy process that serves them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import brotli
import psutil
import zstandard

from autostack.local import child
from autostack.sites import keys
from autostack.sites.manifest import Blob, Encoding, Fallback, File, Manifest, content_type
from autostack.sites.routes import Kind, Route, write_route
from autostack.sites.rules.model import Rules
from autostack.sites.store import Store
from tests.s3 import free_port

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 240
# What is awaited comes at once where nothing is wrong: this is for a machine that does much else.
PATIENCE_S = 60
COMPRESSORS = {"br": brotli.compress, "zstd": zstandard.compress}


def make_file(path: str, data: bytes, encodings: Sequence[Encoding] = ()) -> tuple[File, dict[str, bytes]]:
    """Return a manifest's entry for a file and the blobs that it names."""
    contents = {name: COMPRESSORS[name](data) for name in encodings}
    variants = {name: Blob(hashlib.sha256(content).hexdigest(), len(content)) for name, content in contents.items()}
    file = File(content_type(path), len(data), hashlib.sha256(data).hexdigest(), variants)
    return file, {hashlib.sha256(content).hexdigest(): content for content in (data, *contents.values())}


def make_manifest(paths: Sequence[str], fallback: Fallback = "auto", rules: Rules | None = None) -> Manifest:
    """Return a manifest with these paths, each file's content being its path."""
    files = {path: make_file(path, path.encode())[0] for path in paths}
    return Manifest(str(uuid.uuid4()), str(uuid.uuid4()), files, fallback, rules or Rules())


def publish(
    store: Store,
    label: str,
    files: Mapping[str, bytes],
    *,
    generation: int = 1,
    project_id: str | None = None,
    kind: Kind = "production",
    fallback: Fallback = "auto",
    encodings: Sequence[Encoding] = (),
    rules: Rules | None = None,
    former: Sequence[str] = (),
    packed: bool = False,
) -> Route:
    """Put a site into the store, its files in one pack if that is said, and make it live at a label."""
    project = project_id or str(uuid.uuid4())
    entries: dict[str, File] = {}
    for path, data in files.items():
        entries[path], blobs = make_file(path, data, encodings)
        if packed:
            del blobs[entries[path].sha256]
        for sha256, content in blobs.items():
            store.put_stream(keys.blob(project, sha256), [content])
    if packed:
        entries = _pack(store, project, files, entries)
    manifest = Manifest(project, str(uuid.uuid4()), entries, fallback, rules or Rules())
    store.put(keys.manifest(project, manifest.deployment_id), manifest.to_json())
    route = Route(label, generation, project, manifest.deployment_id, kind, former=tuple(former))
    assert write_route(store, route)
    return route


def _pack(store: Store, project: str, files: Mapping[str, bytes], entries: Mapping[str, File]) -> dict[str, File]:
    whole = b"".join(files.values())
    pack = hashlib.sha256(whole).hexdigest()
    store.put_stream(keys.blob(project, pack), [whole])
    starts = accumulate((len(data) for data in files.values()), initial=0)
    return {path: replace(entries[path], pack=pack, start=start) for path, start in zip(files, starts, strict=False)}


@dataclass(frozen=True)
class Proxy:
    """A proxy process that listens on this port of 127.0.0.1."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    # What a hop in front of it sends first on each connection.
    begin: bytes = b""
    # The address that visitors come from, the system's choice if empty.
    source: str = ""

    @property
    def worker(self) -> psutil.Process:
        """The process that answers, where there is one: the proxy's own only watches it."""
        [worker] = psutil.Process(self.process.pid).children()
        return worker

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S, source_address=(self.source, 0))

    def raw(self, data: bytes, wait_s: float = PATIENCE_S) -> bytes:
        """Send bytes and return everything that comes back until the server closes."""
        with self.connect() as connection:
            connection.settimeout(wait_s)
            # It may be refused, and reset, before all of it is sent; what was answered is there to be read.
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(data)
            return read_all(connection)

    def get(self, target: str, host: str = "site.localhost", method: str = "GET", **headers: str) -> Answer:
        """Make one request; header names are given with underscores for dashes."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return Answer.parse(self.raw(self.begin + ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def parse(cls, data: bytes) -> Answer:
        head, mark, body = data.partition(b"\r\n\r\n")
        assert mark, f"no whole response: {data[:500]!r}"
        status_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        return cls(int(status_line.split(" ")[1]), {name.lower(): value for name, value in pairs}, body)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes; a reset ends it, too."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def awaited(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


@contextlib.contextmanager
def running_proxy(
    folder: Path, environment: Mapping[str, Any], prefix: Sequence[str] = (), begin: bytes = b""
) -> Iterator[Proxy]:
    """Run `proxy.py` with these settings, by their names in the environment; yield it once it answers.

    `prefix` is a command that runs the one after it, such as `prlimit --nofile=100`; `begin` see Proxy.
    """
    port = free_port()
    given = {
        "PROXY_PORT": port,
        "PROXY_WORKERS": 1,
        # On a machine that does much else. Tests of a store that stalls set their own.
        "PROXY_ANSWER_TIMEOUT": 60_000,
        "DATA_DIR": folder,
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        **environment,
    }
    log = folder / f"proxy-{port}.log"
    with log.open("wb") as output:
        process = child.start(
            [*prefix, sys.executable, str(ROOT / "proxy.py")],
            env={**os.environ, **{name: str(value) for name, value in given.items()}},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        proxy = Proxy(port, process, log, begin)
        _wait_until_it_answers(proxy)
        yield proxy
    finally:
        child.end_group(process.pid)
        process.wait()


def _wait_until_it_answers(proxy: Proxy) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            assert proxy.get("/.autostack/healthz").status == 200
        except OSError as error:
            if proxy.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the proxy did not start:\n{proxy.log.read_text()}") from error
            time.sleep(0.05)
        else:
            return
