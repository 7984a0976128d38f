"""Requests at full speed by wrk, pinned to a core of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

CORE = "1"
CONNECTIONS = 64
# What a browser sends with each of them.
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-User": "?1",
}
# Each line of the file is a host and a path; the requests are made once, so that wrk is not what is measured.
SCRIPT = """
local requests, next = {}, 0
init = function()
  for line in io.lines("%(targets)s") do
    local host, path = line:match("(%%S+) (%%S+)")
    wrk.headers["Host"] = host
    requests[#requests + 1] = wrk.format("GET", path)
  end
end
request = function()
  next = next %% #requests + 1
  return requests[next]
end
done = function(summary, latency)
  local bad = summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('{"requests":%%d,"us":%%d,"p99_us":%%d,"bad":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(99), bad))
end
%(headers)s
"""


@dataclass(frozen=True)
class Measured:
    """What a server did in a few seconds: requests a second, the slowest hundredth, and its CPU for each."""

    per_second: float
    p99_ms: float
    cpu_us: float


def measure(
    port: int, pid: int, targets: list[tuple[str, str]], headers: dict[str, str], seconds: int, folder: Path
) -> Measured:
    """Ask for each target (host, path) in turn. Raises RuntimeError if any answer is an error."""
    script = _write_script(targets, {**HEADERS, **headers}, folder)
    before = _cpu_s(pid)
    command = [
        "taskset",
        "-c",
        CORE,
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        str(script),
    ]
    ended = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    used_s = _cpu_s(pid) - before
    said = json.loads(ended.stdout.splitlines()[-1])
    if said["bad"] or not said["requests"]:
        raise RuntimeError(f"port {port}: {ended.stdout}")
    return Measured(said["requests"] / said["us"] * 1e6, said["p99_us"] / 1000, used_s / said["requests"] * 1e6)


def _write_script(targets: list[tuple[str, str]], headers: dict[str, str], folder: Path) -> Path:
    listed = folder / "targets.txt"
    listed.write_text("".join(f"{host} {path}\n" for host, path in targets))
    lines = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    script = folder / "wrk.lua"
    script.write_text(SCRIPT % {"targets": listed, "headers": lines})
    return script


def _cpu_s(pid: int) -> float:
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)
