"""A bare mirror of a project's repository on this machine, so that a build fetches only what is new since the last.

It is made of the first clone and, like unpacked `node_modules`, is at one place at a time (`shelf.py`): kept, or with
the one build that took it. So a build that dies in mid-fetch takes it along, and one that comes meanwhile clones as if
there were none. No two projects share one, though they clone from the same address: whoever knows the
hash of an object could have it from there.

Every build asks the repository's server, also for a commit that the mirror has: who may read it is the server's to
say, each time. A mirror with which that did not go well is let go of, and the build clones as if there were none.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from pathlib import Path

from autostack.agent import git
from autostack.agent.context import Build
from autostack.agent.errors import InfrastructureError
from autostack.agent.fetch import fetch
from autostack.agent.files import remove_tree
from autostack.agent.runner import discard
from autostack.agent.shelf import Shelf

# Each fetch leaves a pack and git looks into all of them: after so many a mirror is made anew.
MAX_PACKS = 50
# Where the first clone lies in the sandbox that makes a mirror of it.
CLONE = "/clone.git"


def clone_by(build: Build, remote: git.Remote) -> bool:
    """Clone by way of the mirror; return whether there is one with which it went well."""
    folder = build.runner.sandbox.workspace.mirror
    if build.mirrors is None or remote.scheme == "file" or not _take(build, build.mirrors, folder):
        return False
    if _fetch(build, remote, folder) and _clone(build, folder):
        _put_back(build, build.mirrors, folder)
        return True
    workspace, sandbox = build.runner.sandbox.workspace, build.runner.sandbox
    for spoilt in (folder, workspace.source):
        remove_tree(spoilt)
        workspace.make_folder(spoilt, sandbox.uid, as_root=sandbox.host.is_root)
    return False


def make_from(build: Build, remote: git.Remote, commit: str) -> None:
    """Make a mirror of a clone, before anything that user code does to it, unless it is too large."""
    workspace = build.runner.sandbox.workspace
    objects = workspace.source / ".git" / "objects"
    if build.mirrors is None or remote.scheme == "file" or not build.mirrors.takes(objects):
        return
    # Copied, not linked: user code may write into each file of the clone.
    script = f"""
        git init --quiet --bare --template= . && cp -r {CLONE}/objects/. objects/ &&
        {{ test ! -e {CLONE}/shallow || cp {CLONE}/shallow shallow; }} &&
        git update-ref {shlex.quote(_ref(build))} {commit}
    """
    runner = build.runner.with_sandbox(at_source=workspace.mirror, readable={CLONE: str(workspace.source / ".git")})
    if runner.run(script, discard, env=git.environment(remote)).exit_code == 0:
        _put_back(build, build.mirrors, workspace.mirror)


def _take(build: Build, mirrors: Shelf, folder: Path) -> bool:
    sandbox = build.runner.sandbox
    key, tag = _name(build)
    try:
        taken = mirrors.take(key, tag, folder, sandbox.uid if sandbox.host.is_root else None)
    except (OSError, InfrastructureError) as error:
        print(f"a repository's mirror could not be used: {error}", file=sys.stderr)
        return False
    finally:
        # Nobody else is to have it until what this build does to it has gone well.
        mirrors.drop(folder)
    return taken


def _fetch(build: Build, remote: git.Remote, folder: Path) -> bool:
    wanted = git.wanted(build.order.repository)
    runner = build.runner.with_sandbox(at_source=folder)
    return fetch(build, runner, remote, git.mirror_commands(remote, wanted, _ref(build))) is None


def _clone(build: Build, folder: Path) -> bool:
    # By git, which checks each object, and leaves behind what other branches and earlier commits have had.
    local = git.Remote(f"file://{git.LOCAL_REPOSITORY}", "", 0, "file")
    runner = build.runner.with_sandbox(readable={git.LOCAL_REPOSITORY: str(folder)})
    return fetch(build, runner, local, git.clone_commands(local, _ref(build))) is None


def _put_back(build: Build, mirrors: Shelf, folder: Path) -> None:
    if len(list((folder / "objects" / "pack").glob("*.pack"))) < MAX_PACKS:
        mirrors.keep(*_name(build), folder)
        mirrors.put_back()


def _name(build: Build) -> tuple[str, str]:
    """Return the mirror's key and tag: a project's, at one address."""
    parts = [build.order.project_id, build.order.repository.url]
    tag = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return f"mirror-{tag[:40]}", tag


def _ref(build: Build) -> str:
    """Return what the mirror calls the branch's last commit. It tells the server of each what it has already."""
    branch = build.order.repository.branch or "HEAD"
    return f"refs/mirror/{hashlib.sha256(branch.encode()).hexdigest()[:16]}"
