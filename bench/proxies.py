"""The site proxy and its peers, each on one core: nginx before S3 and before files, Caddy, and Express."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from autostack.errors import ConfigurationError
from autostack.local import child
from bench.web import ROOT
from tests.s3 import S3Server, free_port
from tests.sites import Proxy, running_proxy

_Command = Callable[[int], list[str]]
CORE = ["taskset", "-c", "0"]
START_TIMEOUT_S = 30
EXPRESS = ROOT / "bench" / "express"
PROGRAMS = {
    "nginx": "nginx-light",
    "caddy": "caddy",
    "wrk": "wrk",
    "taskset": "util-linux",
    "node": "nodejs",
    "npm": "npm",
}
NGINX = """
worker_processes 1;
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  include /etc/nginx/mime.types;
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=20000 inactive=10m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  {http}
  server {{
    listen 127.0.0.1:{port};
    {server}
  }}
}}
"""
CACHE_HTTP = """
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=sites:64m max_size=2g inactive=1d;
  upstream s3 {{ server 127.0.0.1:{s3_port}; keepalive 64; }}
"""
CACHE_SERVER = """
    location / {{
      rewrite ^ /{bucket}/plain/$host$uri break;
      proxy_pass http://s3;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache sites;
      proxy_cache_key $host$uri;
      proxy_cache_valid 200 1d;
      proxy_cache_lock on;
    }}
"""
CADDYFILE = """
{{
  admin off
  auto_https off
}}
http://:{port} {{
  root * {www}/{{host}}
  file_server
}}
"""


@dataclass(frozen=True)
class Server:
    """What is measured under this name, and which process it is."""

    name: str
    port: int
    pid: int


def require_programs() -> None:
    """Raise ConfigurationError for what Debian has and this machine lacks."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        raise ConfigurationError(f"The benchmark of the proxy needs: apt-get install {' '.join(missing)}")


@contextmanager
def running(folder: Path, s3: S3Server, www: Path, environment: Mapping[str, object]) -> Iterator[list[Server]]:
    """Run all of them before the same sites: in S3, as the platform stores them and as plain files, and in `www`."""
    subprocess.run(["npm", "ci", "--silent", "--no-fund", "--no-audit"], cwd=EXPRESS, check=True)
    with ExitStack() as stack:
        ours: Proxy = stack.enter_context(running_proxy(folder, environment, CORE))
        servers = [Server("autostack", ours.port, ours.worker.pid)]
        for name, command in _commands(folder, s3, www).items():
            port = free_port()
            pid = stack.enter_context(_started(name, command(port), folder))
            _wait_for(port)
            servers.append(Server(name, port, pid))
        yield servers


def _commands(folder: Path, s3: S3Server, www: Path) -> dict[str, _Command]:
    plain = f"{s3.endpoint_url}/{s3.bucket}/plain"
    cached = CACHE_HTTP.format(folder=folder / "nginx_proxy_cache", s3_port=s3.port)
    return {
        "nginx_proxy_cache": lambda port: _nginx(
            folder / "nginx_proxy_cache", port, cached, CACHE_SERVER.format(bucket=s3.bucket)
        ),
        "nginx_static": lambda port: _nginx(folder / "nginx_static", port, "", f"root {www}/$host;"),
        "caddy": lambda port: _caddy(folder, port, www),
        "express": lambda port: ["node", str(EXPRESS / "server.js"), str(port), plain],
    }


def _nginx(folder: Path, port: int, http: str, server: str) -> list[str]:
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, http=http, server=server))
    return ["nginx", "-c", str(config)]


def _caddy(folder: Path, port: int, www: Path) -> list[str]:
    config = folder / "Caddyfile"
    config.write_text(CADDYFILE.format(port=port, www=www))
    return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


@contextmanager
def _started(name: str, command: list[str], folder: Path) -> Iterator[int]:
    env = {**os.environ, "GOMAXPROCS": "1", "NODE_ENV": "production", "HOME": str(folder)}
    with (folder / f"{name}.log").open("wb") as output:
        process = child.start([*CORE, *command], env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process.pid
    finally:
        child.end_group(process.pid)
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers on port {port}")
