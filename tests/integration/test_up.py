"""`autostack up` as a user runs it: real PostgreSQL and Valkey, and processes that stand in for the product's."""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
import pytest
import redis

from autostack.errors import ConfigurationError
from autostack.local.folders import claim_data_folder, socket_folder
from tests.integration.test_embedded_services import AS_NOBODY, NOBODY
from tests.processes import processes_where, sockets_of
from tests.s3 import free_port
from tests.services import running_postgres, running_valkey

CHECKOUT = Path(__file__).parents[2]
STANDINS = Path(__file__).with_name("standins")
AUTOSTACK = str(Path(sys.executable).with_name("autostack"))
TIMEOUT_S = 240
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user or to mount")


class Up:
    """One `autostack up`, and what it has printed."""

    def __init__(self, data_dir: Path, *options: str, prefix: Sequence[str] = (), **variables: str) -> None:
        self.data_dir, self.port, self.proxy_port = data_dir, free_port(), free_port()
        arguments = [f"--data-dir={data_dir}", f"--port={self.port}", f"--proxy-port={self.proxy_port}"]
        if not any(option.startswith("--procfile") for option in options):
            arguments.append(f"--procfile={STANDINS / 'Procfile'}")
        self.process = subprocess.Popen(
            [*prefix, sys.executable, AUTOSTACK, "up", *arguments, *options],
            env={**os.environ, **variables},
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put("end of output")

    def until(self, wanted: str) -> None:
        """Read on until the line comes."""
        while not (self.lines and self.lines[-1] == wanted):
            assert self.lines[-1:] != ["end of output"], self.process.communicate()[1]
            self.lines.append(self._queue.get(timeout=TIMEOUT_S))

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=TIMEOUT_S)

    def family(self) -> list[psutil.Process]:
        """Everything that has the data folder in its environment or command line, wherever it hangs in the tree."""
        return processes_where(lambda facts: facts["pid"] != self.process.pid and self._is_marked(facts))

    def named(self, command: str) -> psutil.Process:
        return next(process for process in self.family() if command in " ".join(process.info["cmdline"]))

    def _is_marked(self, facts: dict[str, Any]) -> bool:
        mark = str(self.data_dir)
        is_ours = mark == facts["environ"].get("DATA_DIR") or any(mark in word for word in facts["cmdline"])
        return is_ours and facts["status"] != psutil.STATUS_ZOMBIE


@contextlib.contextmanager
def running(data_dir: Path, *options: str, **variables: str) -> Iterator[Up]:
    up = Up(data_dir, *options, **variables)
    try:
        up.until("ready")
        yield up
    finally:
        if up.process.poll() is None:
            up.end()


def refusal(up: Up) -> list[str]:
    """Return the lines of one that does not start, which must end with exit code 1 and without a traceback."""
    _, errors = up.process.communicate(timeout=TIMEOUT_S)
    assert up.process.returncode == 1
    assert "Traceback" not in errors
    return errors.splitlines()


def eventually(condition, timeout_s=TIMEOUT_S):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.1)


def database_url(data_dir: Path) -> str:
    return f"postgresql://autostack@/autostack?host={socket_folder(data_dir)}"


def starts(data_dir: Path) -> int:
    with psycopg.connect(database_url(data_dir)) as connection:
        row = connection.execute("SELECT count(*) FROM starts").fetchone()
        return row[0] if row else 0


def test_it_starts_answers_and_a_second_start_continues_with_the_data(tmp_path):
    data_dir = tmp_path / "var"
    with running(data_dir) as up:
        assert up.lines[-3:] == ["Autostack is up", f"  Dashboard  http://localhost:{up.port}", "ready"]
        assert httpx2.get(f"http://127.0.0.1:{up.port}/healthz", trust_env=False, timeout=TIMEOUT_S).status_code == 200
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert starts(data_dir) == 1
        assert up.end() == 0
    with running(data_dir):
        assert starts(data_dir) == 2


def test_it_listens_on_the_loopback_address_only(tmp_path):
    with running(tmp_path / "var") as up:
        listening = [
            connection.laddr
            for process in up.family()
            for connection in sockets_of(process)
            if connection.status == psutil.CONN_LISTEN
        ]
        assert {(address.ip, address.port) for address in listening} == {
            ("127.0.0.1", up.port),
            ("127.0.0.1", up.proxy_port),
        }


def test_the_example_is_deployed_once_and_its_account_is_shown_at_every_start(tmp_path):
    data_dir = tmp_path / "var"
    with running(data_dir, "--example") as up:
        banner = up.lines[up.lines.index("Autostack is up") :]
        account = re.fullmatch(
            rf"  Dashboard  http://localhost:{up.port}    (demo@example\.com / \S{{12,}})", banner[1]
        )
        site = f"http://hello-autostack.localhost:{up.proxy_port}"
        assert account
        assert re.fullmatch(rf"  Example    {site}    deployed in \d+\.\d s", banner[2])
        assert stat.S_IMODE((data_dir / "example.json").stat().st_mode) == 0o600
    with running(data_dir, "--example") as up:
        site = f"http://hello-autostack.localhost:{up.proxy_port}"
        assert f"  Dashboard  http://localhost:{up.port}    {account[1]}" in up.lines
        assert f"  Example    {site}    deployed earlier" in up.lines


@pytest.mark.slow
def test_an_example_that_fails_says_why_and_the_rest_goes_on(tmp_path):
    with running(tmp_path / "var", "--example", FAIL_DEPLOYMENTS="1") as up:
        assert "  Example    not deployed: npm run build ended with exit code 1" in up.lines
        assert httpx2.get(f"http://127.0.0.1:{up.port}/healthz", trust_env=False, timeout=TIMEOUT_S).status_code == 200


def test_the_example_builds_offline_to_a_page_that_finds_its_assets(tmp_path):
    shutil.copytree(CHECKOUT / "autostack/local/example", tmp_path / "site")
    for command in (["npm", "ci", "--offline"], ["npm", "run", "build"]):
        subprocess.run(command, cwd=tmp_path / "site", check=True, capture_output=True, timeout=240)
    page = (tmp_path / "site/dist/index.html").read_text()
    assets = re.findall(r"/(assets/[^\"]+)", page)
    assert len(assets) == 2
    assert all((tmp_path / "site/dist" / asset).is_file() for asset in assets)
    assert "{{" not in page


def test_killed_processes_and_services_come_back(tmp_path):
    data_dir = tmp_path / "var"
    with running(data_dir) as up:
        for command in ("web.py", "valkey-server"):
            up.named(command).kill()
        server = int((data_dir / "postgres/postmaster.pid").read_text().splitlines()[0])
        os.kill(server, signal.SIGKILL)
        eventually(lambda: answers(f"http://127.0.0.1:{up.port}/healthz"))
        eventually(lambda: can_connect(data_dir))
        eventually(lambda: can_ping(data_dir))


def answers(url: str) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(url, trust_env=False, timeout=TIMEOUT_S).status_code == 200
    return False


def can_connect(data_dir: Path) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        return starts(data_dir) == 1
    return False


def can_ping(data_dir: Path) -> bool:
    with contextlib.suppress(redis.RedisError):
        return bool(redis.Redis.from_url(f"unix://{socket_folder(data_dir)}/valkey.sock").ping())
    return False


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGHUP))],
)
def test_a_request_to_end_ends_every_child_and_shuts_the_database_down_cleanly(tmp_path, number):
    with running(tmp_path / "var") as up:
        eventually(lambda: len(up.family()) > 8)
        assert up.end(number) == 0
        assert up.family() == []
    assert "database system is shut down" in (tmp_path / "var/log/postgres.log").read_text()


def test_sigkill_leaves_no_orphan_and_the_next_start_needs_nobodys_help(tmp_path):
    with running(tmp_path / "var") as up:
        # Grandchildren in sessions of their own.
        eventually(lambda: any("sleep" in process.info["name"] for process in up.family()))
        up.end(signal.SIGKILL)
        eventually(lambda: up.family() == [])
    with running(tmp_path / "var"):
        assert starts(tmp_path / "var") == 2


@pytest.mark.slow
def test_a_killed_supervisor_leaves_no_orphan_either(tmp_path):
    with running(tmp_path / "var") as up:
        psutil.Process(up.process.pid).children()[0].kill()
        assert refusal(up) == ["autostack: The supervisor was killed by signal 9; all that it ran was ended."]
        assert up.family() == []


def test_services_that_are_given_are_used_instead_of_embedded_ones(tmp_path):
    (tmp_path / "given").mkdir()
    with running_postgres(tmp_path / "given") as database, running_valkey(tmp_path / "given") as queue_url:
        with running(tmp_path / "var", DATABASE_URL=database, REDIS_URL=queue_url) as up:
            assert [process for process in up.family() if process.info["name"] in ("postgres", "valkey-server")] == []
        with psycopg.connect(database) as connection:
            assert connection.execute("SELECT count(*) FROM starts").fetchone() == (1,)
    assert not (tmp_path / "var/postgres").exists()


def test_a_taken_port_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        lines = refusal(Up(tmp_path / "var", f"--proxy-port={port}"))
    assert lines == [f"autostack: Port {port} is taken by another program: choose another with --proxy-port."]


@pytest.mark.parametrize("missing", ["git", "node", "npm"])
def test_a_missing_program_is_one_line(tmp_path, missing):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in {"git", "node", "npm", "env", "bwrap"} - {missing}:
        if path := shutil.which(name):
            (tools / name).symlink_to(path)
    line = refusal(Up(tmp_path / "var", PATH=str(tools)))[0]
    assert line.startswith(f"autostack: {missing} is not installed, or not found on PATH")


def test_a_node_that_is_too_old_is_one_line(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "node").write_text("#!/bin/sh\necho v18.19.0\n")
    (tools / "node").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    line = refusal(Up(tmp_path / "var", PATH=path))[0]
    assert line == "autostack: Node 18.19.0 is too old: install version 20 or newer."


@as_root
def test_a_full_disk_is_one_line(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], check=True)
    try:
        (line,) = refusal(Up(tmp_path / "var"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert re.fullmatch(rf"autostack: The disk of {tmp_path}/var is full: \d MB are free, .*", line)


def test_a_data_folder_of_another_version_is_one_line(tmp_path):
    cluster = tmp_path / "var/postgres"
    cluster.mkdir(parents=True)
    (tmp_path / "var/autostack.lock").touch()
    (cluster / "PG_VERSION").write_text("14\n")
    (line,) = refusal(Up(tmp_path / "var"))
    assert "is of PostgreSQL 14, this Autostack runs 18" in line


def test_a_second_one_on_the_same_data_folder_is_one_line(tmp_path):
    with running(tmp_path / "var"):
        (line,) = refusal(Up(tmp_path / "var"))
    assert line == f"autostack: Another `autostack up` runs on {tmp_path}/var: end it first."


def test_a_migration_that_fails_is_one_line_and_ends_the_rest(tmp_path):
    procfile = tmp_path / "Procfile"
    procfile.write_text("release: python -c \"raise SystemExit('Can not find revision 1a2b')\"\nweb: sleep 60\n")
    up = Up(tmp_path / "var", f"--procfile={procfile}")
    assert refusal(up) == ["autostack: release ended with exit code 1: Can not find revision 1a2b"]
    assert up.family() == []


def test_a_setting_that_is_wrong_is_one_line(tmp_path):
    (line,) = refusal(Up(tmp_path / "var", BUILD_TIMEOUT="soon"))
    assert line.startswith("autostack: BUILD_TIMEOUT: ")


@pytest.mark.slow
def test_ending_it_while_it_starts_leaves_nothing_either(tmp_path):
    procfile = tmp_path / "Procfile"
    procfile.write_text("release: sleep 60\nweb: sleep 60\n")
    up = Up(tmp_path / "var", f"--procfile={procfile}")
    eventually(lambda: any(process.info["name"] == "sleep" for process in up.family()))
    assert up.end() == 0
    assert up.family() == []


def test_the_example_of_an_unreadable_account_file_is_one_line(tmp_path):
    data_dir = tmp_path / "var"
    data_dir.mkdir()
    (data_dir / "autostack.lock").touch()
    (data_dir / "example.json").write_text(json.dumps(["no account"]))
    (line,) = refusal(Up(data_dir, "--example"))
    assert "cannot be read: delete it" in line


def test_a_folder_of_other_things_is_not_taken_for_a_data_folder(tmp_path):
    (tmp_path / "thesis.odt").touch()
    mode = tmp_path.stat().st_mode
    assert refusal(Up(tmp_path)) == [
        f"autostack: {tmp_path} holds something else: choose an empty folder with --data-dir."
    ]
    assert tmp_path.stat().st_mode == mode


@as_root
@pytest.mark.parametrize("name", ["", "below"])
@pytest.mark.parametrize("mode", [0o700, 0o744, 0o755])
def test_the_data_folder_of_another_user_is_refused_by_one_line(name, mode):
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        os.chmod(home, 0o755)
        others = Path(home) / "var"
        others.mkdir()
        (others / "autostack.lock").touch()
        others.chmod(mode)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(ConfigurationError, match=f"{others / name}[^\n]*$"):
                claim_data_folder(others / name)
        finally:
            os.seteuid(0)


@as_root
def test_an_ordinary_user_runs_it_too_and_leaves_no_orphan_at_sigkill():
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        os.chown(home, NOBODY, NOBODY)
        up = Up(Path(home) / "var", prefix=AS_NOBODY, HOME=home, PYTHONDONTWRITEBYTECODE="1")
        up.until("ready")
        assert {process.info["uids"].effective for process in up.family()} == {NOBODY}
        up.end(signal.SIGKILL)
        eventually(lambda: up.family() == [])
