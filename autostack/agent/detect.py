"""What a repository is: its framework, its package manager, the commands that build it, the folder that is the site."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from autostack.agent.errors import BuildFailed
from autostack.agent.files import UnsafePath, is_folder, normalise, read_bytes
from autostack.agent.order import BuildSettings

DEPENDENCY_FIELDS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
LOCK_FILES = {
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
    "yarn.lock": "yarn",
    "pnpm-lock.yaml": "pnpm",
    "bun.lock": "bun",
    "bun.lockb": "bun",
}
PACKAGE_MANAGER = re.compile(r"(npm|yarn|pnpm|bun)@(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)(?:\+.*)?")
PNPM_LOCK = re.compile(rb"^lockfileVersion:\s*'?(\d{1,9})(?:\.(\d{1,9}))?", re.MULTILINE)
# The pnpm that writes each version of its lock file, newest first within what Node 20 runs.
PNPM_OF_LOCK = {9: "10", 6: "8", 5: "7"}
MAJOR = re.compile(r"\d+")
# npm's and yarn's, and the one that is pnpm's own.
INSTALL_SCRIPTS = (
    *("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies"),
    "pnpm:devPreinstall",
)
DEFAULT_OUTPUTS = ("dist", "build", "public", "out", "_site")


@dataclass(frozen=True)
class Framework:
    """One entry of frameworks.json: the dependencies that tell it, its build command, where its output may be."""

    slug: str
    name: str
    packages: tuple[str, ...]
    build: str
    output: tuple[str, ...]
    also: tuple[str, ...] = ()
    script: str = "build"
    hint: str | None = None

    def matches(self, dependencies: Mapping[str, str]) -> bool:
        return any(name in dependencies for name in self.packages) and all(name in dependencies for name in self.also)


@dataclass(frozen=True)
class PackageManager:
    """Which package manager, in which version (None: whichever is there), and its lock file if there is one."""

    name: str
    version: str | None = None
    lock_file: PurePosixPath | None = None

    @property
    def is_berry(self) -> bool:
        """Yarn 2 and newer, whose options are others than those of yarn 1."""
        return self.name == "yarn" and self.version is not None and not self.version.startswith(("0.", "1"))


@dataclass(frozen=True)
class Plan:
    """How this repository is built. Paths are relative to the clone; `outputs` are candidates, best first.

    A command that is None is not run.
    """

    root: PurePosixPath
    install_root: PurePosixPath
    outputs: tuple[PurePosixPath, ...]
    framework: Framework | None = None
    framework_version: str | None = None
    manager: PackageManager | None = None
    build_command: str | None = None
    install_command: str | None = None
    installs: bool = False
    package: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_static(self) -> bool:
        return self.build_command is None and not self.installs

    @property
    def title(self) -> str:
        """What was found, for the log: `Vite 5`."""
        if self.framework is None:
            return "a Node project without a known framework" if self.manager else "a plain static site"
        return f"{self.framework.name} {self.framework_version or ''}".strip()


@lru_cache
def frameworks() -> tuple[Framework, ...]:
    """Return the frameworks that we know, in the order in which they are tried."""
    entries: list[dict[str, Any]] = json.loads(Path(__file__).with_name("frameworks.json").read_text())
    return tuple(Framework(**{key: _frozen(value) for key, value in entry.items()}) for entry in entries)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def make_plan(source: Path, settings: BuildSettings) -> Plan:
    """Look at the clone in `source` and at the owner's settings. Raises BuildFailed if they don't go together."""
    try:
        root = normalise(settings.root_dir or "")
        if not is_folder(source, root):
            raise BuildFailed(f"The root folder `{root}` does not exist in the repository")
        package = read_package(source, root)
        plan = _static_plan(root) if package is None else _package_plan(source, root, package)
        return _with_settings(plan, settings)
    except UnsafePath as error:
        raise BuildFailed(f"The repository cannot be built: {error}") from None


def read_package(source: Path, folder: PurePosixPath) -> dict[str, Any] | None:
    """Return a folder's package.json, or None. Raises BuildFailed if it is not a JSON object."""
    content = read_bytes(source, folder / "package.json", max_bytes=5_000_000)
    if content is None:
        return None
    try:
        package = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BuildFailed(f"`{folder / 'package.json'}` is not valid JSON") from None
    if not isinstance(package, dict):
        raise BuildFailed(f"`{folder / 'package.json'}` is not a JSON object")
    return package


def _static_plan(root: PurePosixPath) -> Plan:
    return Plan(root=root, install_root=root, outputs=(root,))


def _package_plan(source: Path, root: PurePosixPath, package: dict[str, Any]) -> Plan:
    dependencies = all_dependencies(package)
    framework = next((entry for entry in frameworks() if entry.matches(dependencies)), None)
    scripts = _object(package, "scripts")
    script = next((name for name in (framework.script if framework else "build", "build") if scripts.get(name)), None)
    if framework is None and script is None:
        return _static_plan(root)
    manager = find_manager(source, root, package)
    return Plan(
        root=root,
        install_root=manager.lock_file.parent if manager.lock_file else root,
        outputs=tuple(root / path for path in (framework.output if framework else DEFAULT_OUTPUTS)),
        framework=framework,
        framework_version=_version(framework, dependencies),
        manager=manager,
        build_command=f"{manager.name} run {script}" if script else (framework.build if framework else None),
        installs=True,
        package=package,
    )


def _with_settings(plan: Plan, settings: BuildSettings) -> Plan:
    changes: dict[str, Any] = {}
    if settings.build_command is not None:
        changes["build_command"] = settings.build_command.strip() or None
    if settings.install_command is not None:
        changes["install_command"] = settings.install_command.strip() or None
        changes["installs"] = bool(settings.install_command.strip())
    if settings.output_dir is not None and settings.output_dir.strip():
        changes["outputs"] = (normalise(f"{plan.root}/{settings.output_dir.strip().removeprefix('/')}"),)
    elif plan.is_static and changes.get("build_command"):
        # A command of the owner's where we found nothing to build: its output may be anywhere.
        changes["outputs"] = (*(plan.root / name for name in DEFAULT_OUTPUTS), plan.root)
    return Plan(**{**plan.__dict__, **changes})


def find_manager(source: Path, root: PurePosixPath, package: Mapping[str, Any]) -> PackageManager:
    """Find the package manager: by the lock file in `root` or the nearest folder above it, or by `packageManager`.

    The `packageManager` field wins over another manager's lock file, as corepack has it.
    """
    declared = _declared_manager(source, root, package)
    for folder in [root, *root.parents]:
        for name, manager in LOCK_FILES.items():
            content = read_bytes(source, folder / name)
            if content is None or (declared and declared.name != manager):
                continue
            version = declared.version if declared else _version_by_lock(manager, content)
            return PackageManager(manager, version, folder / name)
    return declared or PackageManager("npm")


def _declared_manager(source: Path, root: PurePosixPath, package: Mapping[str, Any]) -> PackageManager | None:
    for folder in [root, *root.parents]:
        folder_package = package if folder == root else read_package(source, folder) or {}
        match = PACKAGE_MANAGER.fullmatch(str(folder_package.get("packageManager", "")))
        if match:
            return PackageManager(match[1], match[2])
    return None


def _version_by_lock(manager: str, content: bytes) -> str | None:
    if manager == "yarn":
        return "4" if b"\n__metadata:" in content else "1"
    if manager == "pnpm":
        match = PNPM_LOCK.search(content)
        major = int(match[1]) if match else 9
        return PNPM_OF_LOCK.get(major, "6" if major < 5 else "10")
    return None


def all_dependencies(package: Mapping[str, Any]) -> dict[str, str]:
    """Return the packages that are named for use or development, with the versions asked for."""
    named = (_object(package, name) for name in DEPENDENCY_FIELDS if name != "peerDependencies")
    return {name: str(version) for group in named for name, version in group.items()}


def _version(framework: Framework | None, dependencies: Mapping[str, str]) -> str | None:
    """Return the major version that package.json asks for, if it names one."""
    named = [name for name in (framework.packages if framework else ()) if name in dependencies]
    match = MAJOR.search(dependencies[named[0]]) if named else None
    return match[0] if match else None


def _object(package: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = package.get(name)
    return value if isinstance(value, dict) else {}


def install_scripts(package: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scripts that run with an install and may write anywhere in the clone."""
    return (name for name in INSTALL_SCRIPTS if _object(package, "scripts").get(name))
