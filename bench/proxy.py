"""The site proxy beside nginx, Caddy and Express: hits, 304s, many paths, many sites, misses, and memory.

Each server has one core, wrk another. All are asked in turns, a few seconds each, so that a machine whose speed drifts
is the same for all. The proxy reads from a real S3 server, as do nginx's cache and Express; nginx and Caddy serve the
same files from the disk besides.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from bench import content, wrk
from bench.content import COLD_SITES, GIGABYTE, HOST, MISSES, SITES_DOMAIN
from bench.proxies import CORE, Server, require_programs, running
from tests.s3 import S3Server, running_s3
from tests.services import running_valkey
from tests.sites import running_proxy

SECONDS = 3
MB = 1_000_000
# Names of the last line: what of ours is divided by what of whose.
RATIOS = {
    "hit_4k_vs_nginx_proxy_cache": ("hit_4k", "nginx_proxy_cache"),
    "hit_200k_vs_nginx_proxy_cache": ("hit_200k", "nginx_proxy_cache"),
    "hit_4k_vs_nginx_static": ("hit_4k", "nginx_static"),
    "hit_200k_vs_nginx_static": ("hit_200k", "nginx_static"),
    "hit_4k_vs_caddy": ("hit_4k", "caddy"),
    "hit_4k_vs_express": ("hit_4k", "express"),
    "not_modified_vs_nginx_proxy_cache": ("not_modified", "nginx_proxy_cache"),
    "not_modified_vs_nginx_static": ("not_modified", "nginx_static"),
    "paths_2000_vs_nginx_proxy_cache": ("paths_2000", "nginx_proxy_cache"),
    "sites_1000_vs_nginx_proxy_cache": ("sites_1000", "nginx_proxy_cache"),
}

Results = dict[tuple[str, str], list[wrk.Measured]]


@dataclass(frozen=True)
class Bench:
    """What runs, and where its files are."""

    folder: Path
    s3: S3Server
    environment: dict[str, object]
    servers: list[Server]


def run(rounds: int) -> None:
    """Print a table of all servers, then the ratios as JSON."""
    require_programs()
    with _running() as bench:
        for server in bench.servers:
            _warm_up(server)
        results: Results = {}
        for number in range(rounds + 1):
            for workload, targets in content.workloads().items():
                for server in bench.servers:
                    measured = _measure(bench, server, workload, targets)
                    if number:
                        results.setdefault((workload, server.name), []).append(measured)
        misses = _misses(bench)
        large_mb = _memory_of_a_large_file(bench)
        many_mb = _memory_of_many_sites(bench)
    _show(results)
    _show_misses(misses)
    ours = {name: round(_ratio(results, workload, peer), 2) for name, (workload, peer) in RATIOS.items()}
    first = {name: statistics.median(times_s) / statistics.median(misses["s3"]) for name, times_s in misses.items()}
    ttfb = {"miss_ttfb_vs_s3": round(first["autostack"], 2), "cold_site_ttfb_vs_s3": round(first["cold site"], 2)}
    memory = {"rss_mb": round(large_mb), "rss_10000_sites_mb": round(many_mb)}
    print(json.dumps({"bench": "proxy", **ours, **ttfb, **memory}))


@contextmanager
def _running() -> Iterator[Bench]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autostack-bench-")))
        # nginx and Caddy read it as themselves.
        folder.chmod(0o755)
        s3 = stack.enter_context(running_s3(folder, is_public=True))
        environment = {
            "STORAGE_URL": f"s3://{s3.bucket}/sites",
            "S3_ENDPOINT_URL": s3.endpoint_url,
            "AWS_ACCESS_KEY_ID": s3.access_key_id,
            "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
            "S3_REGION": s3.region,
            "SITES_DOMAIN": SITES_DOMAIN,
            "REDIS_URL": stack.enter_context(running_valkey(folder)),
            "LOG_FORMAT": "json",
        }
        content.publish_all(s3, folder / "www")
        servers = stack.enter_context(running(folder, s3, folder / "www", environment))
        yield Bench(folder, s3, environment, servers)


def _warm_up(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port)
    for targets in content.workloads().values():
        for host, path in targets:
            _get(connection, host, path)


def _get(connection: HTTPConnection, host: str, path: str) -> dict[str, str]:
    """Ask as wrk does; return the answer's headers."""
    connection.request("GET", path, headers={**wrk.HEADERS, "Host": host})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"port {connection.port} answers {host}{path} with {answer.status}")
    return {name.lower(): value for name, value in answer.getheaders()}


def _measure(bench: Bench, server: Server, workload: str, targets: list[tuple[str, str]]) -> wrk.Measured:
    headers = {}
    if workload == "not_modified":
        headers = {"If-None-Match": _get(HTTPConnection("127.0.0.1", server.port), *targets[0])["etag"]}
    return wrk.measure(server.port, server.pid, targets, headers, SECONDS, bench.folder)


def _misses(bench: Bench) -> dict[str, list[float]]:
    """Return how long the first byte of files takes that nobody asked for before, in seconds, and S3's own.

    Each reads objects of its own, and who goes first changes: who comes after another finds S3 awake.
    """
    asked = {server.name: (server.port, HOST, "") for server in bench.servers[:2]}
    asked["s3"] = (bench.s3.port, "127.0.0.1", f"/{bench.s3.bucket}/own")
    connections = {name: HTTPConnection("127.0.0.1", port) for name, (port, _, _) in asked.items()}
    for server in bench.servers[:2]:
        _get(connections[server.name], HOST, "/4k.css")
    times: dict[str, list[float]] = {name: [] for name in (*asked, "cold site")}
    names = list(asked)
    for number, path in enumerate(MISSES):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            _, host, prefix = asked[name]
            times[name].append(_first_byte_s(connections[name], host, prefix + path))
    for label in COLD_SITES:
        host = f"{label}.{SITES_DOMAIN}"
        times["cold site"].append(_first_byte_s(connections[names[0]], host, "/4k.css"))
    return times


def _first_byte_s(connection: HTTPConnection, host: str, path: str) -> float:
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    answer.read(1)
    took_s = time.perf_counter() - begun
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{host}{path} was answered with {answer.status}")
    return took_s


def _memory_of_a_large_file(bench: Bench) -> float:
    """Return the most memory that a fresh proxy has while it sends a file of 1 GB, in MB."""
    content.publish_large(bench.s3)
    with running_proxy(bench.folder, bench.environment, CORE) as proxy:
        process = proxy.worker
        connection = HTTPConnection("127.0.0.1", proxy.port)
        connection.request("GET", "/large.bin", headers={"Host": f"large.{SITES_DOMAIN}"})
        answer = connection.getresponse()
        received, most = 0, 0
        while part := answer.read(4 * MB):
            received += len(part)
            most = max(most, process.memory_info().rss)
        if received != GIGABYTE:
            raise RuntimeError(f"of 1 GB only {received} bytes came")
        return most / MB


def _memory_of_many_sites(bench: Bench) -> float:
    """Return the memory of a proxy that was asked for 10,000 sites, in MB."""
    folder = bench.folder / "many"
    labels = content.publish_many(folder)
    with running_proxy(bench.folder, {**bench.environment, "STORAGE_URL": f"file://{folder}"}, CORE) as proxy:
        connection = HTTPConnection("127.0.0.1", proxy.port)
        for label in labels:
            _get(connection, f"{label}.{SITES_DOMAIN}", "/")
        return proxy.worker.memory_info().rss / MB


def _ratio(results: Results, workload: str, peer: str) -> float:
    ours, theirs = (_median(results[workload, name], "per_second") for name in ("autostack", peer))
    return ours / theirs


def _median(measured: list[wrk.Measured], field: str) -> float:
    return statistics.median(getattr(one, field) for one in measured)


def _show(results: Results) -> None:
    print(f"{'':<14}{'':<20}{'requests/s':>12}{'p99 ms':>10}{'CPU µs':>10}")
    for (workload, name), measured in results.items():
        figures = (_median(measured, field) for field in ("per_second", "p99_ms", "cpu_us"))
        print("{:<14}{:<20}{:>12,.0f}{:>10.2f}{:>10.1f}".format(workload, name, *figures))


def _show_misses(misses: dict[str, list[float]]) -> None:
    for name, times_s in misses.items():
        print(f"{'miss':<14}{name:<20}{'first byte':>12}{statistics.median(times_s) * 1000:>10.2f} ms")
