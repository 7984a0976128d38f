"""Make the Git repository of the example site, the one local path that may be cloned."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

from autostack.errors import ConfigurationError

SOURCE = Path(__file__).with_name("example")
FOLDER = "example.git"
BRANCH = "main"
# What a build of the source in its place would leave there.
NOT_SOURCE = (":(exclude)node_modules", ":(exclude)dist")
GIT_TIMEOUT_S = 30
# The same commit on every machine: nothing of the user's own configuration, a fixed author, a fixed time.
IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Autostack"), ("EMAIL", "demo@example.com"), ("DATE", "2026-01-01T00:00:00Z"))
}
ISOLATION = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def address(data_dir: Path) -> str:
    """Return the example's `file://` address, the value of EXAMPLE_REPOSITORY."""
    return f"file://{quote(str(data_dir / FOLDER))}"


def exists(data_dir: Path) -> bool:
    return (data_dir / FOLDER).is_dir()


def make(data_dir: Path) -> None:
    """Commit the example's source, when there is no repository yet or the source has changed since."""
    repository = data_dir / FOLDER
    if not exists(data_dir):
        draft = data_dir / f"{FOLDER}.new"
        shutil.rmtree(draft, ignore_errors=True)
        _git("init", "--quiet", "--bare", str(draft))
        _git(f"--git-dir={draft}", "symbolic-ref", "HEAD", f"refs/heads/{BRANCH}")
        _commit(draft)
        draft.rename(repository)
    else:
        _commit(repository)


def _commit(repository: Path) -> None:
    git_dir = f"--git-dir={repository}"
    _git(git_dir, f"--work-tree={SOURCE}", "add", "--all", ".", *NOT_SOURCE)
    tree = _git(git_dir, "write-tree")
    parents = _git(git_dir, "for-each-ref", "--format=%(objectname)", f"refs/heads/{BRANCH}").split()
    if parents and _git(git_dir, "rev-parse", f"{parents[0]}^{{tree}}") == tree:
        return
    lineage = [word for parent in parents for word in ("-p", parent)]
    commit = _git(git_dir, "commit-tree", tree, *lineage, "-m", "Say hello")
    _git(git_dir, "update-ref", f"refs/heads/{BRANCH}", commit)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.bare=false", *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            cwd=SOURCE,
            env={"PATH": os.environ.get("PATH", os.defpath), **IDENTITY, **ISOLATION},
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"git did not make the example's repository within {GIT_TIMEOUT_S} s.") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ConfigurationError(f"git could not make the example's repository: {reason}")
    return done.stdout.strip()
