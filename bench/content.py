"""What the benchmark of the proxy serves: the same content as sites in S3, as plain objects there, and as files."""

from __future__ import annotations

import hashlib
import os
import random
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from autostack.sites import keys
from autostack.sites.manifest import File, Manifest
from autostack.sites.routes import Route, write_route
from autostack.sites.store import Store, open_store
from tests.s3 import S3Server, s3_settings
from tests.sites import publish

SITES_DOMAIN = "sites.test"
HOST = f"main.{SITES_DOMAIN}"
SITES = 1_000
MANY_SITES = 10_000
PATHS = [f"/pages/{number}.css" for number in range(2_000)]
MISSES = [f"/misses/{number}.css" for number in range(100)]
# Sites of which nobody has asked for anything.
COLD_SITES = [f"cold-{number}" for number in range(100)]
SMALL, LARGE = 4_096, 200_000
GIGABYTE = 1_000_000_000
CHUNK = 8_000_000
THREADS = 16


def workloads() -> dict[str, list[tuple[str, str]]]:
    """Return what is asked for, by the name of the measurement: hosts and paths."""
    return {
        "hit_4k": [(HOST, "/4k.css")],
        "hit_200k": [(HOST, "/200k.css")],
        "not_modified": [(HOST, "/4k.css")],
        "paths_2000": [(HOST, path) for path in PATHS],
        "sites_1000": [(f"site-{number}.{SITES_DOMAIN}", "/4k.css") for number in range(SITES)],
    }


def publish_all(s3: S3Server, www: Path) -> None:
    """Put all of it where each server reads it from."""
    sizes = {"/4k.css": SMALL, "/200k.css": LARGE, **dict.fromkeys(PATHS + MISSES, SMALL)}
    # Bytes that no server compresses, nor has in common with another file.
    numbers = random.Random(0)
    sites = {"main": {path: numbers.randbytes(size) for path, size in sizes.items()}}
    labels = [f"site-{number}" for number in range(SITES)] + COLD_SITES
    sites |= {label: {"/4k.css": numbers.randbytes(SMALL)} for label in labels}
    settled, plain = open_store(s3_settings(s3, "sites")), open_store(s3_settings(s3, "plain"))
    own = open_store(s3_settings(s3, "own"))
    with ThreadPoolExecutor(THREADS) as pool:
        done = [pool.submit(publish, settled, label, files) for label, files in sites.items()]
        done += [pool.submit(_publish_plain, plain, www, label, files) for label, files in sites.items()]
        # What S3 is asked for itself: it is quicker with what somebody has read before.
        done += [pool.submit(own.put, path[1:], numbers.randbytes(SMALL)) for path in MISSES]
        for one in done:
            one.result()


def _publish_plain(store: Store, www: Path, label: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        name = f"{label}.{SITES_DOMAIN}{path}"
        store.put(name, data)
        (www / name).parent.mkdir(parents=True, exist_ok=True)
        (www / name).write_bytes(data)


def publish_large(s3: S3Server) -> None:
    """Put a site with one file of 1 GB into S3, without having it in memory."""
    store = open_store(s3_settings(s3, "sites"))
    digest = hashlib.sha256()
    chunk = os.urandom(CHUNK)

    def chunks() -> Iterator[bytes]:
        for _ in range(GIGABYTE // CHUNK):
            digest.update(chunk)
            yield chunk

    for _ in chunks():
        pass
    sha256, project = digest.hexdigest(), str(uuid.uuid4())
    store.put_stream(keys.blob(project, sha256), chunks())
    manifest = Manifest(project, str(uuid.uuid4()), {"/large.bin": File("application/octet-stream", GIGABYTE, sha256)})
    store.put(keys.manifest(project, manifest.deployment_id), manifest.to_json())
    write_route(store, Route("large", 1, project, manifest.deployment_id))


def publish_many(folder: Path) -> list[str]:
    """Put 10,000 small sites into a store in a folder; return their labels."""
    labels = [f"many-{number}" for number in range(MANY_SITES)]
    for label in labels:
        data = f"<h1>{label}</h1>".encode()
        sha256, project = hashlib.sha256(data).hexdigest(), str(uuid.uuid4())
        manifest = Manifest(project, str(uuid.uuid4()), {"/index.html": File("text/html", len(data), sha256)})
        objects = {
            keys.blob(project, sha256): data,
            keys.manifest(project, manifest.deployment_id): manifest.to_json(),
            keys.route(label): Route(label, 1, project, manifest.deployment_id).to_json(),
        }
        # Not by the store's own way, which waits for the disk each time.
        for key, content in objects.items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(content)
    return labels
