"""The names of build caches: `node_modules` by all that decides what an install makes, downloads by their manager."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autostack.agent.detect import DEPENDENCY_FIELDS, Plan, install_scripts, read_package
from autostack.agent.errors import BuildFailed
from autostack.agent.files import UnsafePath, is_folder, names_in, read_bytes

MAX_PACKAGES = 2_000
# What names dependencies, and what else decides how they are laid out.
NAMING_FIELDS = (*DEPENDENCY_FIELDS, "overrides", "resolutions", "pnpm")
LAYOUT_FIELDS = (*NAMING_FIELDS, "workspaces", "packageManager")
PNPM_WORKSPACE = "pnpm-workspace.yaml"
LAYOUT_FILES = (".npmrc", ".yarnrc", ".yarnrc.yml", PNPM_WORKSPACE, "bunfig.toml")
# A dependency that is a folder of the clone (or made by a script of it), as a value in JSON or YAML.
LOCAL = re.compile(r""": ["']?(?:(?:file|link|portal|exec):|\.{0,2}/|~/)""")
# The package.json files of a repository, each with its folder.
Packages = Sequence[tuple[PurePosixPath, Mapping[str, object]]]


@dataclass(frozen=True)
class CacheKeys:
    """Under which keys this build's caches are. `modules` is None where an install cannot be skipped."""

    modules: str | None
    downloads: str


def cache_keys(source: Path, plan: Plan, node_version: str, command: str) -> CacheKeys | None:
    """Return the keys for a plan that installs, or None for one without a package manager.

    An install is skipped only when the lock file says all that it does: not when a package.json of the repository has
    scripts that run with it, or a dependency is a folder of the clone, which changes while the lock file does not.
    """
    if plan.manager is None:
        return None
    downloads = f"downloads-{plan.manager.name}"
    try:
        packages = list(_packages(source))
        if plan.manager.lock_file is None or _installs_more(source, plan, packages):
            return CacheKeys(None, downloads)
        lock = read_bytes(source, plan.manager.lock_file, max_bytes=100_000_000) or b""
        parts = [
            *(node_version, platform.machine(), plan.manager.name, str(plan.manager.version), command),
            *(str(plan.install_root), hashlib.sha256(lock).hexdigest(), _layout(source, plan, packages)),
        ]
    # RecursionError: JSON can be nested deeper than it can be written again.
    except (UnsafePath, RecursionError):
        return CacheKeys(None, downloads)
    return CacheKeys(f"modules-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]}", downloads)


def _installs_more(source: Path, plan: Plan, packages: Packages) -> bool:
    """Tell whether an install does more than its lock file says: run scripts, or copy folders of the clone."""
    if any(any(install_scripts(package)) for _, package in packages):
        return True
    named = json.dumps([package.get(name) for _, package in packages for name in NAMING_FIELDS])
    return bool(LOCAL.search(named) or LOCAL.search(_text(source, plan.install_root / PNPM_WORKSPACE)))


def _text(source: Path, path: PurePosixPath) -> str:
    return (read_bytes(source, path) or b"").decode("utf-8", "replace")


def _packages(source: Path) -> Iterator[tuple[PurePosixPath, dict[str, object]]]:
    """Yield the repository's package.json files, before anything is installed. Raises UnsafePath past a bound."""
    pending, seen = [PurePosixPath()], 0
    while pending:
        folder = pending.pop()
        seen += 1
        if seen > MAX_PACKAGES:
            raise UnsafePath("the repository has too many folders to be sure")
        try:
            package = read_package(source, folder)
        except BuildFailed:
            # A template or a test's fixture: were it part of the install, that would say so.
            package = None
        if package is not None:
            yield folder, package
        names = names_in(source, folder)
        if "node_modules" in names:
            # What is committed there and what an install puts there would be mixed another way than the install does.
            raise UnsafePath("the repository has node_modules of its own")
        names = [name for name in names if name != ".git"]
        pending += [folder / name for name in names if is_folder(source, folder / name)]


def _layout(source: Path, plan: Plan, packages: Packages) -> str:
    fields = {str(folder): {name: package.get(name) for name in LAYOUT_FIELDS} for folder, package in packages}
    files = [_text(source, plan.install_root / name) for name in LAYOUT_FILES]
    return hashlib.sha256(json.dumps([fields, files], sort_keys=True).encode()).hexdigest()
