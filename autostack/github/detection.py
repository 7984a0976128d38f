"""What a repository at GitHub is before anything is cloned: the agent's own detection, on the few files it needs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autostack.accounts.models import User
from autostack.agent.detect import LOCK_FILES, Plan, make_plan
from autostack.agent.errors import BuildFailed
from autostack.agent.files import UnsafePath, normalise
from autostack.agent.install import install_command
from autostack.agent.order import BuildSettings
from autostack.extensions import db
from autostack.github.client import GitHubApi, GitHubUnavailable, RepositoryNotFound
from autostack.github.repositories import api_of

PACKAGE = "package.json"
# Each folder on the way to the one that is built is asked for.
MAX_DEPTH = 4


@dataclass(frozen=True)
class Detected:
    """What the build will find: a title such as `Vite 5`, and how it will be built. None: it will not be."""

    title: str
    install_command: str | None
    build_command: str | None
    output_dir: str


def detect(user: User, full_name: str, branch: str, root_dir: str | None) -> Detected | None:
    """Return what a build of the branch will detect; None where GitHub, or the repository, gives no answer.

    Raises GitHubNotConnected.
    """
    with api_of(user) as api, tempfile.TemporaryDirectory() as folder:
        # A slow GitHub must not keep a connection of the database's pool waiting with it.
        db.session.commit()
        try:
            root = normalise(root_dir or "")
            for part in _parts(root):
                _fetch(api, full_name, branch, part, Path(folder))
            return _shown(make_plan(Path(folder), BuildSettings(root_dir=root_dir)))
        except (GitHubUnavailable, RepositoryNotFound, BuildFailed, UnsafePath):
            return None


def _parts(root: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield the folder and those above it, where a monorepo has its lock file."""
    if len(root.parts) > MAX_DEPTH:
        raise UnsafePath("too deep to look at")
    yield from dict.fromkeys([root, *root.parents])


def _fetch(api: GitHubApi, full_name: str, branch: str, part: PurePosixPath, target: Path) -> None:
    at = "" if part == PurePosixPath() else str(part)
    names = api.files(full_name, at, branch)
    (target / part).mkdir(parents=True, exist_ok=True)
    if PACKAGE in names:
        (target / part / PACKAGE).write_bytes(api.file(full_name, f"{at}/{PACKAGE}", branch))
    for name in LOCK_FILES.keys() & set(names):
        # That it is there tells the package manager; its megabytes tell only the version.
        (target / part / name).touch()


def _shown(plan: Plan) -> Detected:
    installs = install_command(plan.manager).title if plan.manager and plan.installs else None
    output = plan.outputs[0]
    inside = output.relative_to(plan.root) if output.is_relative_to(plan.root) else output
    return Detected(f"{plan.title[0].upper()}{plan.title[1:]}", installs, plan.build_command, str(inside))
