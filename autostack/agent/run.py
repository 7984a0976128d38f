"""The story of one build: order, clone, detect, install, build, collect, upload, end."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from autostack.agent import cache
from autostack.agent.api import Api
from autostack.agent.cgroups import make_group
from autostack.agent.clone import Commit, clone
from autostack.agent.collect import Known, Output, collect
from autostack.agent.context import Build
from autostack.agent.detect import Plan, make_plan
from autostack.agent.errors import AttemptEnded, BuildFailed, InfrastructureError
from autostack.agent.explain import explain
from autostack.agent.files import folders_like, names_in
from autostack.agent.guards import Cancelled, Deadline, Disk, Memory, Processes
from autostack.agent.host import Host, Node, inspect_host
from autostack.agent.logs import Log, Shipper
from autostack.agent.mask import Masker
from autostack.agent.network import Egress
from autostack.agent.order import Order
from autostack.agent.prefetch import Prefetch
from autostack.agent.prepare import Installed, choose_node, install, with_tools
from autostack.agent.rules import read_rules, without_rules
from autostack.agent.runner import Runner, can_isolate_networks
from autostack.agent.sandbox import FIRST_EGRESS_UID, FIRST_UID, SOURCE, ContainersWorkspace, Sandbox, Workspace
from autostack.agent.shelf import Shelf
from autostack.agent.text import duration
from autostack.agent.unsandboxed import OpenWorkspace, warning_of, without_isolation
from autostack.agent.upload import VariantGone, uploading

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Unpacked, `node_modules` are some times as large as their archive, and there may be those of a few projects.
SHELF_FACTOR = 10
# Of all that may be kept of mirrors, one has a quarter at most.
MIRRORS = 4
RENAME_REFUSED = b"EXDEV"
BUILD_ENV = {"NEXT_TELEMETRY_DISABLED": "1", "ASTRO_TELEMETRY_DISABLED": "1", "GATSBY_TELEMETRY_DISABLED": "1"}


@dataclass(frozen=True)
class Options:
    """What the agent is started with, beside its token."""

    api_url: str
    attempt_id: str
    work_dir: Path
    tools_dir: Path
    modules_dir: Path | None = None
    mirrors_dir: Path | None = None
    slot: int = 0
    ca_bundle: Path | None = None
    allow_unsandboxed: bool = False


@dataclass(frozen=True)
class Built:
    """A build that went well, and what may be cached of it."""

    plan: Plan
    installed: Installed


def run(options: Options, bootstrap_token: str) -> None:
    """Fetch the order, build, report the end. Raises AttemptEnded or InfrastructureError if there is none."""
    host = inspect_host()
    if options.allow_unsandboxed:
        host = without_isolation(host, options.work_dir / "trial")
    api = Api(options.api_url, options.attempt_id, bootstrap_token, ca_bundle=options.ca_bundle)
    workspace = _workspace(options, host)
    try:
        order = api.fetch_order()
        _run_order(options, host, workspace, api, order)
    finally:
        workspace.remove()
        api.close()


def _workspace(options: Options, host: Host) -> Workspace:
    if host.unisolated:
        return OpenWorkspace(options.work_dir)
    return (ContainersWorkspace if host.is_container else Workspace)(options.work_dir)


def _run_order(options: Options, host: Host, workspace: Workspace, api: Api, order: Order) -> None:
    lost: list[Exception] = []

    def stop(error: Exception) -> None:
        lost.append(error)
        api.ended.set()

    shipper = Shipper(api, order.heartbeat_interval_ms / 1000, stop)
    build = _make_build(options, host, workspace, api, order, shipper)
    try:
        _see_through(build, shipper, lost)
    finally:
        if build.runner.egress:
            build.runner.egress.close()
        if build.runner.sandbox.group:
            build.runner.sandbox.group.close()
        if build.shelf:
            build.shelf.put_back()


def _see_through(build: Build, shipper: Shipper, lost: list[Exception]) -> None:
    """Build, and report the end. Raises the error that `lost` holds once web is no longer to be told anything."""
    shipper.start()
    try:
        _make_room(build)
        reason, built = None, _build(build)
    except BuildFailed as failed:
        # Web says it in the log as it takes the end.
        reason, built = build.log.in_one_line(str(failed)), None
    finally:
        shipper.close()
    if lost:
        raise lost[0]
    # The log is all there before the end is: after it, web takes no more lines.
    build.api.finish("built" if built else "failed", reason)
    if built:
        _save_caches(built)


def _make_room(build: Build) -> None:
    """Make the build's folders, when it is its turn."""
    sandbox = build.runner.sandbox
    if isinstance(sandbox.workspace, OpenWorkspace):
        deadline = Deadline(build.order.limits.timeout_ms)

        def must_stop() -> str | None:
            return deadline.reason if deadline.has_passed or build.api.ended.is_set() else None

        sandbox.workspace.take_turn(must_stop, lambda: build.log.line("Waiting for another build of this machine"))
    sandbox.workspace.make(sandbox.uid, as_root=sandbox.host.is_root)


def _make_build(options: Options, host: Host, workspace: Workspace, api: Api, order: Order, shipper: Shipper) -> Build:
    log = Log(
        shipper.put,
        Masker(_secrets(order)),
        max_line_bytes=order.limits.max_line_bytes,
        max_log_bytes=order.limits.max_log_bytes,
        elapsed_ms=order.elapsed_ms,
    )
    group = make_group(order.limits)
    sandbox = Sandbox(host, workspace, FIRST_UID + options.slot, order.limits, options.ca_bundle, group=group)
    guards = (
        Cancelled(api.ended),
        Deadline(order.limits.timeout_ms),
        *([group] if group else [Processes(order.limits), Memory(order.limits)]),
        Disk(workspace.shared, order.limits),
    )
    egress = _egress(options, host, log)
    sandbox = replace(sandbox, shares_network=egress is None)
    shelf, mirrors = _shelves(options, host, order)
    return Build(order, api, log, Runner(sandbox, guards, egress), options.tools_dir, shelf, mirrors)


def _shelves(options: Options, host: Host, order: Order) -> tuple[Shelf | None, Shelf | None]:
    """Return what this machine keeps: `node_modules`, and mirrors. A container lasts for one build."""
    if host.is_container:
        return None, None
    limits = order.limits
    of_modules, of_mirrors = SHELF_FACTOR * limits.max_cache_bytes, limits.max_mirrors_bytes
    shelf = Shelf(options.modules_dir, of_modules) if options.modules_dir else None
    mirrors = Shelf(options.mirrors_dir, of_mirrors, of_mirrors // MIRRORS) if options.mirrors_dir else None
    for kept in filter(None, (shelf, mirrors)):
        kept.prune()
    return shelf, mirrors


def _egress(options: Options, host: Host, log: Log) -> Egress | None:
    """Return the build's way out; in a container of its own it has the container's, whose surroundings guard it."""
    if host.is_container:
        if warning := warning_of(host):
            log.line(warning, "warning")
        return None
    uid = FIRST_EGRESS_UID + options.slot
    egress = Egress(lambda text: log.line(text, "warning"), options.ca_bundle, uid)
    if not options.allow_unsandboxed or can_isolate_networks(egress):
        return egress
    egress.close()
    log.line("This machine makes no networks for builds: this one reaches all that the machine does", "warning")
    return None


def _secrets(order: Order) -> dict[str, str]:
    credential = order.repository.credential
    return {**order.env, **({"": credential.password} if credential else {})}


def _build(build: Build) -> Built:
    try:
        return _build_once(build)
    except _RenameRefused:
        # The one thing that a folder beneath the clone is not good for (overlayfs). From the beginning: what the first
        # try left may be in the way of another.
        build.log.line("The build renames folders of node_modules: once more, with all of them in the clone", "warning")
        if build.shelf:
            build.shelf.put_back()
        sandbox = build.runner.sandbox
        sandbox.workspace.make(sandbox.uid, as_root=sandbox.host.is_root)
        return _build_once(replace(build, shelf=None))


class _RenameRefused(Exception):
    """A build could not rename a folder that lies beneath its clone."""


def _build_once(build: Build) -> Built:
    with _asking_for_known(build) as known:
        with _prefetching(build) as ready:
            plan, installed, env = _make_ready(ready)
        _run_build_command(installed.build, plan, env)
        _deliver(installed.build, plan, known)
    return Built(plan, installed)


@contextmanager
def _asking_for_known(build: Build) -> Iterator[Future[Known]]:
    """Give what the build before left in the store, which is asked for while this one builds."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="known")
    try:
        yield pool.submit(lambda: Known.of(build.api.previous()))
    finally:
        # Nobody waits for it where there is nothing to deliver.
        pool.shutdown(wait=False)


@contextmanager
def _prefetching(build: Build) -> Iterator[Build]:
    """Give the build with what it will probably want of caches on its way."""
    most = build.order.limits.max_cache_bytes
    if not most:
        yield build
        return
    prefetch = Prefetch(build.api, build.shelf, build.runner.sandbox.workspace.spool, most)
    try:
        yield replace(build, prefetch=prefetch)
    finally:
        prefetch.close()


def _make_ready(build: Build) -> tuple[Plan, Installed, Mapping[str, str]]:
    """Clone, detect and install; return what was detected, the build with its dependencies, and its variables."""
    commit = clone(build)
    plan = make_plan(build.source, build.order.settings)
    build.log.line(f"Detected {plan.title}")
    node = None if plan.is_static else choose_node(build, plan)
    _report_source(build, plan, commit, node)
    if node is None:
        return plan, Installed(build, None), {}
    build = with_tools(build, plan, node)
    env = _environment(build, commit)
    return plan, install(build, plan, node, env), env


def _report_source(build: Build, plan: Plan, commit: Commit, node: Node | None) -> None:
    installs = plan.install_command or (f"{plan.manager.name} install" if plan.installs and plan.manager else None)
    source = {
        "commitHash": commit.hash,
        "commitMessage": commit.message,
        "author": commit.author,
        "framework": plan.framework.slug if plan.framework else None,
        "packageManager": plan.manager.name if plan.manager else None,
        "nodeVersion": node.version if node else None,
        "installCommand": installs,
        "buildCommand": plan.build_command,
        "outputDir": str(_relative(plan.outputs[0], plan.root)),
    }
    build.api.report_source(source)


def _relative(path: PurePosixPath, root: PurePosixPath) -> PurePosixPath:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _environment(build: Build, commit: Commit) -> dict[str, str]:
    """Return the owner's variables with ours. A name that no shell could set is left out, and said so."""
    given = build.order.env
    for name in given:
        if not VARIABLE.fullmatch(name):
            build.log.line(f"The environment variable `{name[:60]}` is left out: its name is not valid", "warning")
    ours = {"AUTOSTACK_COMMIT": commit.hash, "AUTOSTACK_BRANCH": build.order.repository.branch or ""}
    return {**BUILD_ENV, **ours, **{name: value for name, value in given.items() if VARIABLE.fullmatch(name)}}


def _run_build_command(build: Build, plan: Plan, env: Mapping[str, str]) -> None:
    if plan.build_command is None:
        return
    started = time.monotonic()
    build.log.line(f"$ {plan.build_command}")
    folder = f"{SOURCE}/{plan.root}"
    programs = [f"{SOURCE}/{parent}/node_modules/.bin" for parent in dict.fromkeys((plan.root, plan.install_root))]
    # What a framework's own command names is installed in the repository, as with `npm run`.
    command = f'export PATH={shlex.quote(":".join(programs))}:"$PATH"\n{plan.build_command}'
    ended = build.run_command(command, folder, env)
    if ended.exit_code != 0 and build.runner.sandbox.layered and RENAME_REFUSED in ended.tail:
        raise _RenameRefused
    if ended.exit_code != 0:
        why = explain(ended, build.order.limits)
        raise BuildFailed(f"`{plan.build_command}` ended with exit code {ended.exit_code}{why}")
    build.log.line(f"Build completed in {duration((time.monotonic() - started) * 1000)}")


def find_output(source: Path, plan: Plan) -> PurePosixPath:
    """Return the output folder: of the candidates the first with an index.html, else the first with anything in it.

    Raises BuildFailed if there is none, with the framework's hint.
    """
    candidates = [folder for pattern in plan.outputs for folder in folders_like(source, pattern)]
    with_page = [folder for folder in candidates if "index.html" in names_in(source, folder)]
    # A folder that is named alone is looked at as it is: what is wrong with it is then said of it.
    chosen = [*with_page, *(folder for folder in candidates if names_in(source, folder))]
    hint = plan.framework.hint if plan.framework else None
    if chosen or (len(plan.outputs) == 1 and not hint):
        return (chosen or [plan.outputs[0]])[0]
    names = ", ".join(f"`{path}`" for path in plan.outputs)
    raise BuildFailed(f"The build made no output folder: looked for {names}" + (f". {hint}" if hint else ""))


def _deliver(build: Build, plan: Plan, asked: Future[Known]) -> None:
    folder = find_output(build.source, plan)
    sandbox = build.runner.sandbox
    output = Output(
        source=build.source,
        folder=folder,
        limits=build.order.limits,
        uid=sandbox.uid if sandbox.host.is_root else None,
        is_root=folder in (PurePosixPath(), plan.root),
    )
    rules = read_rules(build, plan, output)
    known = asked.result()
    try:
        sent, total = _send(build, output, rules, known)
    except VariantGone:
        # What the build before had packed or compressed was deleted just now.
        sent, total = _send(build, output, rules, replace(known, variants={}, packed={}))
    stored = f" ({total - sent:,} were already stored)" if sent < total else ""
    build.log.line(f"Uploaded {sent:,} of {total:,} files{stored}")


def _send(build: Build, output: Output, rules: Mapping[str, str], known: Known) -> tuple[int, int]:
    """Read the output and upload it; return how many files were sent, and how many there are."""
    with uploading(build.api, output, known.stored) as uploads:
        files = []
        spool = build.runner.sandbox.workspace.spool
        for file in without_rules(collect(output, spool, build.log.line, known), output):
            uploads.offer(file)
            files.append(file)
        return uploads.finish(files, rules, build.log.line)


def _save_caches(built: Built) -> None:
    """Save what the next build can use, after the end was reported: nobody waits for it, and nobody misses it."""
    keys, build = built.installed.keys, built.installed.build
    if keys is None or built.installed.modules_restored:
        return
    try:
        # A build that takes away what it needs no more (`npm prune`) leaves less than an install would.
        if keys.modules and built.installed.packages <= cache.packages_in(build.source, built.plan):
            cache.save_modules(build, built.plan, keys.modules)
        cache.save_downloads(build, built.plan, keys.downloads)
    except (InfrastructureError, AttemptEnded, BuildFailed, OSError) as error:
        # For the operator: the owner's log has ended.
        print(f"the build cache was not saved: {error}", file=sys.stderr)
