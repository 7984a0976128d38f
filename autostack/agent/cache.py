"""Build caches: the package manager's downloads, and `node_modules`, packed after a build, unpacked before another.

Archives are made and unpacked by tar inside the sandbox: whatever is in one, it can touch nothing but the build that
reads it. Where the kernel can lay one folder above another, `node_modules` are not unpacked into the clone but lie
beneath it: no build changes them, so that they serve the next one on this machine as they are (`shelf.py`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import zstandard

from autostack.agent.context import Build
from autostack.agent.detect import Plan
from autostack.agent.errors import InfrastructureError
from autostack.agent.files import folders_like, is_folder, remove_tree
from autostack.agent.runner import Runner, discard
from autostack.agent.sandbox import HOME, SOURCE
from autostack.agent.shelf import Shelf

LEVEL = 1
MAX_WINDOW_BYTES = 2**27
CHUNK_BYTES = 256 * 1024
# What an archive may grow to when it is unpacked, as a multiple of what it may be itself.
MAX_EXPANSION = 20
MODULES = "node_modules"
DOWNLOADS = {
    "npm": (".npm/_cacache",),
    "yarn": (".cache/yarn", ".yarn/berry/cache"),
    "pnpm": (".local/share/pnpm/store",),
    "bun": (".bun/install/cache",),
}


def has_modules(folder: Path, plan: Plan) -> bool:
    """Tell whether there are `node_modules` where the install puts them. Yarn's Plug'n'Play makes none."""
    return is_folder(folder, plan.install_root / MODULES)


def restore_modules(build: Build, plan: Plan, key: str) -> Build | None:
    """Return the build with its `node_modules`, beneath its clone or in it, or None if they cannot be had."""
    layered = build.with_runner(build.runner.with_sandbox(layered=True))
    works = build.shelf is not None and layered.runner.run("true", discard).exit_code == 0
    if build.shelf and works and _restore_beneath(build, build.shelf, plan, key):
        return layered
    if _restore(build, build.runner, key, SOURCE) is not None and has_modules(build.source, plan):
        return build
    # Of a broken archive nothing may be left.
    build.runner.run(_find_modules(plan) + " -exec rm -rf {} +", discard)
    return None


def restore_downloads(build: Build, key: str) -> bool:
    """Unpack the package manager's cache; return whether there was one."""
    return _restore(build, build.runner, key, HOME) is not None


def save_modules(build: Build, plan: Plan, key: str) -> None:
    """Save every `node_modules` of the clone. Raises InfrastructureError if that fails or is too large."""
    tag = _save(build, key, f"{_find_modules(plan)} -print0 | tar -cf - --null -T -")
    if build.shelf:
        modules = build.runner.sandbox.workspace.modules
        _move_modules(build.source, plan, modules)
        build.shelf.keep(key, tag, modules)


def save_downloads(build: Build, plan: Plan, key: str) -> None:
    """Save what the package manager has downloaded, if anything. Raises InfrastructureError as above."""
    home = build.runner.sandbox.workspace.home
    possible = DOWNLOADS[plan.manager.name] if plan.manager else ()
    if folders := [folder for folder in possible if is_folder(home, PurePosixPath(folder))]:
        _save(build, key, shlex.join(["tar", "-C", HOME, "-cf", "-", *folders]))


def _restore_beneath(build: Build, shelf: Shelf, plan: Plan, key: str) -> bool:
    """Fill the folder beneath the clone: from the shelf if what web has lies there, else from web."""
    modules = build.runner.sandbox.workspace.modules
    if not _take(build, shelf, key, modules):
        tag = _restore(build, build.runner.with_sandbox(at_source=modules), key, SOURCE)
        if tag is None or not has_modules(modules, plan):
            return False
        shelf.keep(key, tag, modules)
    return not _are_published(modules, plan)


def _are_published(modules: Path, plan: Plan) -> bool:
    """Tell whether a folder of packages lies in the output: what is uploaded is read from the clone alone."""
    return any(folders_like(modules, output) for output in plan.outputs if output not in (PurePosixPath(), plan.root))


def _take(build: Build, shelf: Shelf, key: str, target: Path) -> bool:
    known = shelf.tags(key)
    if not known:
        return False
    sandbox = build.runner.sandbox
    try:
        with build.api.cache(key, known) as found:
            unchanged = found.tag if found and found.chunks is None else None
        return unchanged is not None and shelf.take(
            key, unchanged, target, sandbox.uid if sandbox.host.is_root else None
        )
    except InfrastructureError:
        return False


def _move_modules(source: Path, plan: Plan, target: Path) -> None:
    """Move every `node_modules` of the clone to its place below `target`, which is emptied."""
    remove_tree(target)
    target.mkdir(mode=0o700)
    for name, folders, _ in os.walk(source / plan.install_root):
        found = Path(name, MODULES)
        if MODULES in folders:
            folders.remove(MODULES)
            if not found.is_symlink():
                place = target / found.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                found.rename(place)


def _find_modules(plan: Plan) -> str:
    return f"cd {SOURCE} && find {shlex.quote(f'./{plan.install_root}')} -name {MODULES} -type d -prune"


def _restore(build: Build, runner: Runner, key: str, folder: str) -> str | None:
    """Unpack an archive; return its tag, or None if there is none or it is broken."""
    try:
        with build.api.cache(key) as found:
            if found is None or found.chunks is None:
                return None
            feed = _decompressed(found.chunks, build.order.limits.max_cache_bytes * MAX_EXPANSION)
            ended = runner.run(f"tar -xf - -C {folder}", discard, feed=feed)
            return found.tag if ended.exit_code == 0 else None
    except (InfrastructureError, zstandard.ZstdError):
        return None


def _save(build: Build, key: str, script: str) -> str:
    return build.api.put_cache(key, _compressed(build.runner.stream(script), build.order.limits.max_cache_bytes))


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
