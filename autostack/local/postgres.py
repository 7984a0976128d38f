"""An embedded PostgreSQL: a real server from a wheel, on a unix socket only.

PostgreSQL refuses to run as root, so root starts it in a user namespace in which it is nobody: there its files stay
root's outside, and no folder above them needs to be opened up for another user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import psycopg

from autostack.errors import ConfigurationError
from autostack.local import binaries
from autostack.local.folders import make_private

ROLE = DATABASE = "autostack"
SETUP_SQL = f"CREATE ROLE {ROLE} LOGIN;\nCREATE DATABASE {DATABASE} OWNER {ROLE};\n"
# Whoever can enter the sockets' folder (0700) is the owner; there is no other way in.
HOST_BASED_AUTHENTICATION = "local all all trust\n"
# The user id must have a name inside the namespace: 65534 is nobody nearly everywhere.
NOBODY = "65534"
SETUP_TIMEOUT_S = 120


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server with its cluster in `folder` and its socket in `sockets`."""

    folder: Path
    sockets: Path
    name: str = "postgres"

    @property
    def url(self) -> str:
        return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(self.sockets), safe='')}"

    def prepare(self) -> None:
        """Make the cluster, the role and the database unless they are there. Raises ConfigurationError."""
        make_private(self.sockets)
        if self.folder.exists():
            self._check_version()
        else:
            self._create()

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{self.sockets}"',
            "unix_socket_permissions": "0700",
            "cluster_name": "autostack",
        }
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        return [*_as_ordinary_user(), binaries.postgres("postgres"), "-D", str(self.folder), *flags]

    def answers(self) -> bool:
        """Tell whether the server takes connections."""
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @cached_property
    def version(self) -> str:
        """The major version of the binaries, such as `18`."""
        shown = _run([binaries.postgres("postgres"), "--version"])
        match = re.search(r"(\d+)[.\w]*\s*$", shown.strip())
        if match is None:
            raise ConfigurationError(f"PostgreSQL tells no version: {shown.strip()}")
        return match[1]

    def _check_version(self) -> None:
        marker = self.folder / "PG_VERSION"
        found = marker.read_text().strip() if marker.is_file() else "an unknown version"
        if found != self.version:
            raise ConfigurationError(
                f"The data in {self.folder} is of PostgreSQL {found}, this Autostack runs {self.version}: "
                "dump it with the old version and restore it, or choose another --data-dir."
            )

    def _create(self) -> None:
        # Made beside its place and moved there when complete: a first start that was interrupted begins anew.
        draft = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _run([*_as_ordinary_user(), binaries.postgres("initdb"), *_initdb_flags(draft)])
            (draft / "pg_hba.conf").write_text(HOST_BASED_AUTHENTICATION)
            single_user = [binaries.postgres("postgres"), "--single", "-D", str(draft), "postgres"]
            _run([*_as_ordinary_user(), *single_user], SETUP_SQL)
            draft.rename(self.folder)
        except OSError as error:
            raise ConfigurationError(f"Cannot make the database in {self.folder}: {error.strerror}.") from None


def _initdb_flags(folder: Path) -> list[str]:
    return [
        f"--pgdata={folder}",
        "--username=postgres",
        "--encoding=UTF8",
        # The same order and case rules on every machine, whatever locales it has.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--auth=trust",
        "--no-instructions",
    ]


def _as_ordinary_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    sandbox = [binaries.bubblewrap(), "--dev-bind", "/", "/", "--unshare-user", "--uid", NOBODY, "--gid", NOBODY]
    return [*sandbox, "--die-with-parent", "--"]


def _run(command: list[str], sql: str = "") -> str:
    """Return what one of PostgreSQL's programs prints. Raises ConfigurationError with its own words."""
    try:
        done = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=SETUP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"PostgreSQL could not be set up within {SETUP_TIMEOUT_S} s.") from None
    # In single-user mode a statement that fails is only a line; the exit code stays 0.
    problem = re.search(r"(?:ERROR|FATAL|PANIC|error): +(.*)", done.stderr)
    if done.returncode != 0 or problem:
        reason = problem[1] if problem else f"exit code {done.returncode}"
        raise ConfigurationError(f"PostgreSQL could not be set up: {reason}.")
    return done.stdout
