"""Where an installation on one machine keeps what: the data folder, and a folder for sockets."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from autostack.errors import ConfigurationError

# sun_path of unix(7) holds 108 bytes with its closing zero.
MAX_SOCKET_PATH_BYTES = 107
LONGEST_SOCKET_NAME = "/.s.PGSQL.5432"
# libpq takes a comma in `host` for a list of hosts.
PLAIN_PATH = re.compile(r"[\w./@+=~ -]+", re.ASCII)

LOCK_FILE = "autostack.lock"
# What only a data folder holds: the lock of `autostack up`, or the secrets that any of the programs may have made.
MARKS = (LOCK_FILE, "secrets.json")


def claim_data_folder(data_dir: Path) -> Path:
    """Make the data folder, or check that a folder that is there may become or is one. Raises ConfigurationError."""
    with _explained(data_dir):
        if data_dir.is_dir() and not any((data_dir / mark).exists() for mark in MARKS) and any(data_dir.iterdir()):
            # Closing somebody's home folder or /tmp to everyone else is not what a slip in --data-dir should do.
            raise ConfigurationError(f"{data_dir} holds something else: choose an empty folder with --data-dir.")
    return make_private(data_dir)


def make_private(folder: Path) -> Path:
    """Make a folder that only its owner may enter, or check that it is one. Raises ConfigurationError."""
    with _explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise ConfigurationError(f"{folder} must be a folder of the user who starts Autostack.")
        folder.chmod(0o700)
    return folder


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"Cannot use the folder {folder}: {error.strerror}.") from None


def socket_folder(data_dir: Path) -> Path:
    """Return where the data folder's services have their sockets: inside it, unless its path is too long for one."""
    inside = data_dir / "run"
    if fits_sockets(inside):
        return inside
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path("/tmp") / f"autostack-{os.geteuid()}-{name}"  # noqa: S108 - make_private() checks whose it is


def fits_sockets(folder: Path) -> bool:
    path = f"{folder}{LONGEST_SOCKET_NAME}"
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES and PLAIN_PATH.fullmatch(path) is not None
