"""The build cache: `node_modules` for exactly this lock file, or else what the package manager has downloaded.

Archives are made and unpacked by tar inside the sandbox: whatever is in one, it can touch nothing but the clone and
the home of the build that reads it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import zstandard

from autostack.agent.api import Api
from autostack.agent.detect import DEPENDENCY_FIELDS, Plan, install_scripts, read_package
from autostack.agent.errors import BuildFailed, InfrastructureError
from autostack.agent.files import UnsafePath, is_folder, names_in, read_bytes
from autostack.agent.runner import Runner, discard
from autostack.agent.sandbox import HOME, SOURCE

LEVEL = 1
MAX_WINDOW_BYTES = 2**27
CHUNK_BYTES = 256 * 1024
# What an archive may grow to when it is unpacked, as a multiple of what it may be itself.
MAX_EXPANSION = 20
MAX_PACKAGES = 2_000
# What names dependencies, and what else decides how they are laid out.
NAMING_FIELDS = (*DEPENDENCY_FIELDS, "overrides", "resolutions", "pnpm")
LAYOUT_FIELDS = (*NAMING_FIELDS, "workspaces", "packageManager")
PNPM_WORKSPACE = "pnpm-workspace.yaml"
LAYOUT_FILES = (".npmrc", ".yarnrc", ".yarnrc.yml", PNPM_WORKSPACE, "bunfig.toml")
# A dependency that is a folder of the clone (or made by a script of it), as a value in JSON or YAML.
LOCAL = re.compile(r""": ["']?(?:(?:file|link|portal|exec):|\.{0,2}/|~/)""")
DOWNLOADS = {
    "npm": (".npm/_cacache",),
    "yarn": (".cache/yarn", ".yarn/berry/cache"),
    "pnpm": (".local/share/pnpm/store",),
    "bun": (".bun/install/cache",),
}

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
        names = (name for name in names_in(source, folder) if name not in (".git", "node_modules"))
        pending += [folder / name for name in names if is_folder(source, folder / name)]


def _layout(source: Path, plan: Plan, packages: Packages) -> str:
    fields = {str(folder): {name: package.get(name) for name in LAYOUT_FIELDS} for folder, package in packages}
    files = [_text(source, plan.install_root / name) for name in LAYOUT_FILES]
    return hashlib.sha256(json.dumps([fields, files], sort_keys=True).encode()).hexdigest()


def has_modules(source: Path, plan: Plan) -> bool:
    """Tell whether there are `node_modules` where the install puts them. Yarn's Plug'n'Play makes none."""
    return is_folder(source, plan.install_root / "node_modules")


def restore_modules(api: Api, runner: Runner, plan: Plan, key: str, max_bytes: int) -> bool:
    """Unpack `node_modules`; return whether they are there now. A broken archive leaves none behind."""
    if _restore(api, runner, key, SOURCE, max_bytes):
        return has_modules(runner.sandbox.workspace.source, plan)
    runner.run(_find_modules(plan) + " -exec rm -rf {} +", discard)
    return False


def restore_downloads(api: Api, runner: Runner, key: str, max_bytes: int) -> bool:
    """Unpack the package manager's cache; return whether there was one."""
    return _restore(api, runner, key, HOME, max_bytes)


def save_modules(api: Api, runner: Runner, plan: Plan, key: str, max_bytes: int) -> None:
    """Save every `node_modules` of the clone. Raises InfrastructureError if that fails or is too large."""
    _save(api, runner, key, f"{_find_modules(plan)} -print0 | tar -cf - --null -T -", max_bytes)


def save_downloads(api: Api, runner: Runner, plan: Plan, key: str, max_bytes: int) -> None:
    """Save what the package manager has downloaded. Raises InfrastructureError if that fails or is too large."""
    folders = shlex.join(DOWNLOADS[plan.manager.name] if plan.manager else ())
    # Of the folders named, those that exist: a manager has one of its possible places.
    script = f'cd {HOME} && set -- && for d in {folders}; do [ -d "$d" ] && set -- "$@" "$d"; done; tar -cf - "$@"'
    _save(api, runner, key, script, max_bytes)


def _find_modules(plan: Plan) -> str:
    return f"cd {SOURCE} && find {shlex.quote(f'./{plan.install_root}')} -name node_modules -type d -prune"


def _restore(api: Api, runner: Runner, key: str, folder: str, max_bytes: int) -> bool:
    try:
        with api.cache(key) as chunks:
            if chunks is None:
                return False
            feed = _decompressed(chunks, max_bytes * MAX_EXPANSION)
            return runner.run(f"tar -xf - -C {folder}", discard, feed=feed).exit_code == 0
    except (InfrastructureError, zstandard.ZstdError):
        return False


def _save(api: Api, runner: Runner, key: str, script: str, max_bytes: int) -> None:
    api.put_cache(key, _compressed(runner.stream(script), max_bytes))


def _compressed(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=LEVEL).chunker(chunk_size=CHUNK_BYTES)
    left = max_bytes
    for chunk in _both(chunks, compressor):
        left -= len(chunk)
        if left < 0:
            raise InfrastructureError("the build cache is larger than a cache may be")
        yield chunk


def _both(chunks: Iterable[bytes], compressor: zstandard.ZstdCompressionChunker) -> Iterator[bytes]:
    for chunk in chunks:
        yield from compressor.compress(chunk)
    yield from compressor.finish()  # type: ignore[no-untyped-call]


def _decompressed(chunks: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    """Yield what an archive holds, in small pieces: an archive of zeros must not become gigabytes in memory."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    left = max_bytes
    for chunk in decompressor.read_to_iter(_Reader(chunks), write_size=CHUNK_BYTES):  # type: ignore[arg-type]
        left -= len(chunk)
        if left < 0:
            raise InfrastructureError("the build cache is larger than a cache may be")
        yield chunk


class _Reader:
    """An iterator of chunks with the `read` that the decompressor asks for."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken
