"""PostgreSQL and Valkey from wheels: their data, their sockets, and what stops them from starting."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from autostack.errors import ConfigurationError
from autostack.local.folders import MAX_SOCKET_PATH_BYTES, make_private, socket_folder
from autostack.local.postgres import Postgres
from tests.processes import processes_where, sockets_of
from tests.services import running_postgres, running_valkey

CHECKOUT = Path(__file__).parents[2]
NOBODY = 65534
# The one right beyond an ordinary user's: to read a Python that is installed below root's home.
READS = "+dac_read_search"
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
AS_NOBODY += [f"--inh-caps={READS}", f"--ambient-caps={READS}"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user or to mount")


def test_postgres_keeps_its_data_from_one_start_to_the_next(tmp_path):
    with running_postgres(tmp_path) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with running_postgres(tmp_path) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_the_application_is_not_a_superuser_of_its_database(tmp_path):
    with running_postgres(tmp_path) as url, psycopg.connect(url) as connection:
        query = "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(query).fetchone() == ("autostack", False)


def test_valkey_keeps_its_data_from_one_start_to_the_next(tmp_path):
    with running_valkey(tmp_path) as url:
        redis.Redis.from_url(url).set("answer", 42)
    with running_valkey(tmp_path) as url:
        assert redis.Redis.from_url(url).get("answer") == b"42"


def test_the_services_listen_on_no_port_and_only_their_owner_reaches_their_sockets(tmp_path):
    with running_postgres(tmp_path), running_valkey(tmp_path):
        # Other tests of this run have servers of their own below this process.
        names = {"postgres", "valkey-server"}
        family = {process.pid for process in psutil.Process().children(recursive=True)}
        mine = processes_where(lambda facts: facts["pid"] in family and facts["name"] in names)
        assert {process.info["name"] for process in mine} == names
        assert [process for process in mine if sockets_of(process)] == []
        assert stat.S_IMODE(socket_folder(tmp_path).stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["deep" * 30, "with, comma", "ümlaut", "with space"])
def test_any_data_folder_will_do(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    with running_postgres(folder) as database_url, running_valkey(folder) as redis_url:
        assert len(os.fsencode(socket_folder(folder) / ".s.PGSQL.5432")) <= MAX_SOCKET_PATH_BYTES
        psycopg.connect(database_url).close()
        assert redis.Redis.from_url(redis_url).ping()


def test_a_first_start_that_was_interrupted_begins_anew(tmp_path):
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18")
    with running_postgres(tmp_path) as url:
        psycopg.connect(url).close()


def test_data_of_another_major_version_is_left_alone_with_one_line(tmp_path):
    cluster = tmp_path / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigurationError, match=r"is of PostgreSQL 15, this Autostack runs 18") as caught:
        Postgres(cluster, tmp_path / "run").prepare()
    assert "\n" not in caught.value.message
    assert [path.name for path in cluster.iterdir()] == ["PG_VERSION"]


def test_a_socket_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="must be a folder of the user"):
        make_private(tmp_path / "run")


@as_root
def test_a_disk_that_fills_up_at_the_first_start_is_one_line_and_leaves_no_half_cluster(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)], check=True)
    try:
        with pytest.raises(ConfigurationError, match="No space left on device") as caught:
            Postgres(tmp_path / "postgres", tmp_path / "run").prepare()
        assert "\n" not in caught.value.message
        assert not (tmp_path / "postgres").exists()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@as_root
def test_an_ordinary_user_runs_the_services_too():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, NOBODY, NOBODY)
        script = (
            "import pathlib, sys; from tests.services import *\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "with running_postgres(folder), running_valkey(folder): print('both answer')"
        )
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [*AS_NOBODY, sys.executable, "-c", script, folder]
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.stdout == "both answer\n", done.stderr


def test_a_server_dies_with_the_process_that_started_it(tmp_path):
    script = (
        "import sys, time, pathlib; from tests.services import running_postgres\n"
        "with running_postgres(pathlib.Path(sys.argv[1])): print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    starter = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE)
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"up\n"
    family = psutil.Process(starter.pid).children(recursive=True)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
