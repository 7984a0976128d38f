"""Build caches: the package manager's downloads, and `node_modules`, packed after a build, unpacked before another.

Archives are made and unpacked by tar inside the sandbox: whatever is in one, it can touch nothing but the build that
reads it. Where the kernel can lay one folder above another, `node_modules` are not unpacked into the clone but lie
beneath it: no build changes them, so that they serve the next one on this machine as they are (`shelf.py`).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import zstandard

from autostack.agent.context import Build
from autostack.agent.detect import Plan
from autostack.agent.errors import InfrastructureError
from autostack.agent.files import folders_like, is_folder, names_in, remove_tree
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


def packages_in(folder: Path, plan: Plan) -> frozenset[str]:
    """Return the names of the packages that are installed, those beneath others left out."""
    modules = plan.install_root / MODULES
    names = names_in(folder, modules)
    scoped = (
        f"{scope}/{name}" for scope in names if scope.startswith("@") for name in names_in(folder, modules / scope)
    )
    return frozenset([*names, *scoped])


def restore_modules(build: Build, plan: Plan, key: str) -> Build | None:
    """Return the build with its `node_modules`, beneath its clone or in it, or None if they cannot be had."""
    if build.shelf is None or not _can_be_layered(build):
        return _restore_into_clone(build, plan, key)
    modules = build.runner.sandbox.workspace.modules
    if not _fill(build, build.shelf, plan, key, modules):
        _empty(build, modules)
        return None
    if _are_published(modules, plan):
        return _restore_into_clone(build, plan, key)
    return build.with_runner(build.runner.with_sandbox(layered=True))


def restore_downloads(build: Build, key: str) -> bool:
    """Unpack the package manager's cache; return whether there was one."""
    return _restore(build, build.runner, key, HOME) is not None


def save_modules(build: Build, plan: Plan, key: str) -> None:
    """Save every `node_modules` of the clone, here too if they can be used here.

    Raises InfrastructureError or BuildFailed if that fails or is too large.
    """
    pack = f"{_find_modules(plan)} -print0 | tar -cf - --null -T -"
    tag = _save(build, key, pack)
    if build.shelf is None or not _can_be_layered(build):
        return
    # Copied by tar in sandboxes, and not moved by us: the way to them is as user code made it, links and all.
    modules = build.runner.sandbox.workspace.modules
    _empty(build, modules)
    copied = _unpack(build.runner.with_sandbox(at_source=modules), SOURCE, build.runner.stream(pack))
    if copied and has_modules(modules, plan):
        build.shelf.keep(key, tag, modules)


def save_downloads(build: Build, plan: Plan, key: str) -> None:
    """Save what the package manager has downloaded, if anything. Raises InfrastructureError as above."""
    home = build.runner.sandbox.workspace.home
    possible = DOWNLOADS[plan.manager.name] if plan.manager else ()
    if folders := [folder for folder in possible if is_folder(home, PurePosixPath(folder))]:
        _save(build, key, shlex.join(["tar", "-C", HOME, "-cf", "-", *folders]))


def _restore_into_clone(build: Build, plan: Plan, key: str) -> Build | None:
    if _restore(build, build.runner, key, SOURCE) is not None and has_modules(build.source, plan):
        return build
    # Of a broken archive nothing may be left.
    build.runner.run(_find_modules(plan) + " -exec rm -rf {} +", discard)
    return None


def _can_be_layered(build: Build) -> bool:
    """Tell whether this machine's kernel and bubblewrap can lay the clone above another folder."""
    if build.runner.with_sandbox(layered=True).run("true", discard).exit_code == 0:
        return True
    print("node_modules are unpacked for each build: this machine cannot lay folders above each other", file=sys.stderr)
    return False


def _fill(build: Build, shelf: Shelf, plan: Plan, key: str, modules: Path) -> bool:
    """Fill the folder beneath the clone: from the shelf if what web has lies there, else from web."""
    sandbox = build.runner.sandbox
    try:
        with build.caches.cache(key, shelf.tags(key)) as found:
            if found is None:
                return False
            if found.chunks is None:
                taken = shelf.take(key, found.tag, modules, sandbox.uid if sandbox.host.is_root else None)
                return taken and has_modules(modules, plan)
            feed = _decompressed(found.chunks, _most_unpacked(build))
            filled = _unpack(build.runner.with_sandbox(at_source=modules), SOURCE, feed) and has_modules(modules, plan)
            if filled:
                shelf.keep(key, found.tag, modules)
            return filled
    except (InfrastructureError, zstandard.ZstdError, OSError):
        return False


def _empty(build: Build, modules: Path) -> None:
    sandbox = build.runner.sandbox
    if build.shelf:
        build.shelf.drop(modules)
    remove_tree(modules)
    sandbox.workspace.make_folder(modules, sandbox.uid, as_root=sandbox.host.is_root)


def _are_published(modules: Path, plan: Plan) -> bool:
    """Tell whether a folder of packages lies in the output: what is uploaded is read from the clone alone."""
    return any(folders_like(modules, output) for output in plan.outputs if output not in (PurePosixPath(), plan.root))


def _find_modules(plan: Plan) -> str:
    return f"cd {SOURCE} && find {shlex.quote(f'./{plan.install_root}')} -name {MODULES} -type d -prune"


def _restore(build: Build, runner: Runner, key: str, folder: str) -> str | None:
    """Unpack an archive; return its tag, or None if there is none or it is broken."""
    try:
        with build.caches.cache(key) as found:
            if found is None or found.chunks is None:
                return None
            return found.tag if _unpack(runner, folder, _decompressed(found.chunks, _most_unpacked(build))) else None
    except (InfrastructureError, zstandard.ZstdError):
        return None


def _unpack(runner: Runner, folder: str, archive: Iterable[bytes]) -> bool:
    return runner.run(f"tar -xf - -C {folder}", discard, feed=archive).exit_code == 0


def _most_unpacked(build: Build) -> int:
    return build.order.limits.max_cache_bytes * MAX_EXPANSION


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
