"""The programs that a build needs: the wanted Node, and a package manager, installed from npm where it is missing."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autostack.agent.detect import PackageManager
from autostack.agent.errors import BuildFailed
from autostack.agent.files import UnsafePath, read_bytes
from autostack.agent.host import Node

TOOLS = "/opt/autostack/tools"
NODE = "/opt/autostack/node"
WANTED_NODE = re.compile(r"v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:\.[x*])*")
ENGINES_NODE = re.compile(r"(?:\^|~|>=|=|v)?\s*(\d{1,9})(?:\.[\dx*]{1,9})*")
# Yarn 2 and newer are published under another name than yarn 1; bun's package fetches its program by a script.
NPM_NAMES = {"yarn": "yarn", "pnpm": "pnpm", "bun": "bun", "npm": "npm"}
BERRY = "@yarnpkg/cli-dist"
DEFAULT_VERSIONS = {"yarn": "1", "pnpm": "10", "bun": "1"}


@dataclass(frozen=True)
class Tool:
    """A package manager to have: what npm calls it, and in which folder of the tool folder it goes."""

    name: str
    package: str
    version: str

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.version}"

    @property
    def install_command(self) -> list[str]:
        scripts = [] if self.name == "bun" else ["--ignore-scripts"]
        quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        return ["npm", "install", "--prefix", ".", *scripts, *quiet, f"{self.package}@{self.version}"]


def needed_tool(manager: PackageManager, npm_version: str | None = None) -> Tool | None:
    """Return the tool that this package manager needs, or None for the npm that came with Node."""
    if manager.name == "npm" and (manager.version is None or manager.version == npm_version):
        return None
    version = manager.version or DEFAULT_VERSIONS[manager.name]
    return Tool(manager.name, BERRY if manager.is_berry else NPM_NAMES[manager.name], version)


def search_path(tool: Tool) -> str:
    """Return the folder of the tool's programs, in the sandbox."""
    return f"{TOOLS}/{tool.folder}/node_modules/.bin"


def ensure_tool(tool: Tool, tools_dir: Path, install: Callable[[Path, Sequence[str]], int]) -> bool:
    """Have the tool in `tools_dir`; return whether it had to be installed. Raises BuildFailed if npm has none.

    `install(folder, command)` runs a command in a sandbox whose working folder is `folder` and returns its exit code.
    One agent installs, others wait; a folder gets its name only when it is complete.
    """
    target = tools_dir / tool.folder
    if target.is_dir():
        return False
    with _locked(tools_dir, tool.folder):
        if target.is_dir():
            return False
        draft = tools_dir / f".{tool.folder}-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o755)
        try:
            if install(draft, tool.install_command) != 0 or not (draft / "node_modules/.bin").is_dir():
                raise BuildFailed(f"{tool.name} {tool.version} could not be installed from npm")
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return True


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def choose_node(nodes: Sequence[Node], wanted: str | None) -> Node:
    """Return the Node that the owner asked for (`20`, `20.x`, `v20.11`), else the first. Raises BuildFailed."""
    if not wanted:
        return nodes[0]
    match = WANTED_NODE.fullmatch(wanted.strip())
    numbers = tuple(int(part) for part in (match.groups() if match else ()) if part is not None)
    found = next((node for node in nodes if numbers and node.numbers[: len(numbers)] == numbers), None)
    if found is None:
        have = ", ".join(node.version for node in nodes)
        raise BuildFailed(f"Node {wanted.strip()[:40]} is not installed on this machine, which has {have}")
    return found


def hinted_node(source: Path, root: PurePosixPath, engines: object) -> str | None:
    """Return the major version that .nvmrc, .node-version or package.json's engines name, or None."""
    for name in (".nvmrc", ".node-version"):
        try:
            content = read_bytes(source, root / name, max_bytes=1_000)
        except UnsafePath:
            continue
        match = WANTED_NODE.fullmatch((content or b"").decode("utf-8", "replace").strip())
        if match:
            return match[1]
    hint = engines.get("node") if isinstance(engines, dict) else None
    match = ENGINES_NODE.fullmatch(str(hint).strip()) if hint else None
    return match[1] if match and ">" not in str(hint) else None
