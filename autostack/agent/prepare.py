"""Before the build: choose Node, have the package manager, restore or install the dependencies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from autostack.agent import toolchain
from autostack.agent.cache import has_modules, packages_in, restore_downloads, restore_modules
from autostack.agent.cache_keys import CacheKeys, cache_keys
from autostack.agent.context import Build
from autostack.agent.detect import Plan
from autostack.agent.errors import BuildFailed
from autostack.agent.explain import explain
from autostack.agent.host import Node, node_installations
from autostack.agent.install import NPM_OUT_OF_STEP, InstallCommand, install_command
from autostack.agent.sandbox import SOURCE, Workspace, join_commands
from autostack.agent.text import duration

SYSTEM_PREFIXES = ("/usr", "/usr/local")
INSTALL_ENV = {"NPM_CONFIG_UPDATE_NOTIFIER": "false", "YARN_ENABLE_TELEMETRY": "0", "HUSKY": "0"}


@dataclass(frozen=True)
class Installed:
    """The build with its dependencies, and what may be cached of them.

    `modules_restored`: the install was skipped. `packages`: what it installed, by their names.
    """

    build: Build
    keys: CacheKeys | None
    modules_restored: bool = False
    packages: frozenset[str] = frozenset()


def choose_node(build: Build, plan: Plan) -> Node:
    """Return the Node to build with: the owner's choice, else what the repository hints at, else the machine's."""
    nodes = node_installations()
    if build.order.settings.node_version:
        return toolchain.choose_node(nodes, build.order.settings.node_version)
    hint = toolchain.hinted_node(build.source, plan.root, plan.package.get("engines"))
    try:
        return toolchain.choose_node(nodes, hint)
    except BuildFailed:
        text = f"The repository asks for Node {hint}, which this machine lacks: building with {nodes[0].version}"
        build.log.line(text, "warning")
        return nodes[0]


def with_tools(build: Build, plan: Plan, node: Node) -> Build:
    """Return the build with Node and the package manager on its PATH, installing what is missing."""
    readable, search = _node_paths(node)
    ready = _with_paths(build, readable, search)
    tool = toolchain.needed_tool(plan.manager) if plan.manager else None
    if tool is None:
        return ready
    if toolchain.ensure_tool(tool, build.tools_dir, lambda folder, command: _install_tool(ready, folder, command)):
        build.log.line(f"Installed {tool.name} {tool.version}")
    path = f"{toolchain.TOOLS}/{tool.folder}"
    return _with_paths(
        build, {**readable, path: str(build.tools_dir / tool.folder)}, [toolchain.search_path(tool), *search]
    )


def _node_paths(node: Node) -> tuple[dict[str, str], list[str]]:
    if node.prefix in SYSTEM_PREFIXES:
        return {}, [node.bin]
    return {toolchain.NODE: node.prefix}, [f"{toolchain.NODE}/bin"]


def _with_paths(build: Build, readable: Mapping[str, str], search: Sequence[str]) -> Build:
    return build.with_runner(build.runner.with_sandbox(readable=dict(readable), search=tuple(search)))


def _install_tool(build: Build, folder: Path, command: Sequence[str]) -> int:
    """Install into `folder` in a sandbox of its own: neither the clone nor the owner's variables are in it."""
    sandbox = build.runner.sandbox
    room = Workspace(folder / ".room")
    room.make(sandbox.uid, as_root=sandbox.host.is_root)
    runner = replace(build.runner, sandbox=replace(sandbox, workspace=room))
    try:
        ended = runner.run(join_commands([command]), build.log.write, reach=build.internet)
        if ended.exit_code == 0:
            (room.source / "node_modules").rename(folder / "node_modules")
        return ended.exit_code
    finally:
        build.log.finish_output()
        room.remove()
        room.root.rmdir()


def install(build: Build, plan: Plan, node: Node, env: Mapping[str, str]) -> Installed:
    """Install the dependencies, or restore them if these very ones were installed before. Raises BuildFailed."""
    command = _command(plan)
    if command is None:
        return Installed(build, None)
    caches = build.order.limits.max_cache_bytes > 0
    keys = cache_keys(build.source, plan, node.version, command.command) if caches else None
    if keys and keys.modules and (restored := _restored(build, plan, keys.modules)):
        return Installed(restored, keys, modules_restored=True)
    if keys and restore_downloads(build, keys.downloads):
        build.log.line("Restored the package manager's cache")
    with build.timed("Dependencies installed in "):
        _install(build, command, plan.install_root, env)
    if keys and not has_modules(build.source, plan):
        # Looked at before the build: what tools put into node_modules later (Babel, Vite) is no install.
        keys = replace(keys, modules=None)
    return Installed(build, keys, packages=packages_in(build.source, plan))


def _restored(build: Build, plan: Plan, key: str) -> Build | None:
    started = time.monotonic()
    restored = restore_modules(build, plan, key)
    if restored:
        took = duration((time.monotonic() - started) * 1000)
        build.log.line(f"Restored node_modules from the build cache in {took}: same lock file, install skipped")
    return restored


class _Before:
    """Passes output on up to the line with `sign`. After it npm explains its options, eighty lines that help nobody."""

    def __init__(self, sign: bytes, write: Callable[[bytes], None]) -> None:
        self._sign = sign
        self._write = write
        self._over = False

    def __call__(self, chunk: bytes) -> None:
        before, sign, _ = chunk.partition(self._sign)
        if not self._over:
            self._write(before[: before.rfind(b"\n") + 1] if sign else chunk)
        self._over = self._over or bool(sign)


def _command(plan: Plan) -> InstallCommand | None:
    if plan.install_command is not None:
        return InstallCommand(plan.install_command, f"`{plan.install_command}`")
    return install_command(plan.manager) if plan.installs and plan.manager else None


def _install(build: Build, command: InstallCommand, folder: PurePosixPath, env: Mapping[str, str]) -> None:
    build.log.line(f"Installing dependencies with {command.title}…")
    # With NODE_ENV=production package managers leave out what most builds are made with.
    install_env = {**INSTALL_ENV, **{name: value for name, value in env.items() if name != "NODE_ENV"}}
    where = f"{SOURCE}/{folder}"
    write = _Before(NPM_OUT_OF_STEP, build.log.write) if command.fallback else None
    ended = build.run_command(command.command, where, install_env, write)
    if ended.exit_code != 0 and command.fallback and NPM_OUT_OF_STEP in ended.tail:
        build.log.line("The lock file does not go with package.json: using npm install instead", "warning")
        ended = build.run_command(command.fallback, where, install_env)
    if ended.exit_code != 0:
        why = explain(ended, build.order.limits)
        raise BuildFailed(f"`{command.title.strip('`')}` ended with exit code {ended.exit_code}{why}")
