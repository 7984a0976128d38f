"""The sandbox that clone, install and build each run in: bubblewrap's mounts, another user, no privileges.

As root, bwrap makes the mounts without a user namespace and setpriv then becomes an unused user; with a user
namespace alone, user code would stay uid 0 of the host. As an ordinary user, a user namespace is all there is.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autostack.agent.files import remove_tree
from autostack.agent.host import Host
from autostack.agent.order import Limits

FIRST_UID = 64_000
SOURCE = "/build"
HOME = "/home/build"
COMMAND = "/run/autostack/command"
CA_BUNDLE = "/etc/autostack/ca.pem"
SHM_BYTES = 64 * 1024 * 1024
MAX_OPEN_FILES = 16_384
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Workspace:
    """The folders of one attempt. `source`, `home`, `tmp` and `modules` belong to the sandbox's user, the rest to the
    agent.
    """

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def modules(self) -> Path:
        """The `node_modules` that lie beneath the clone, where they are not in it."""
        return self.root / "modules"

    @property
    def overlay(self) -> Path:
        """What the kernel needs beside a clone that lies above other folders."""
        return self.root / "overlay"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def shared(self) -> tuple[Path, ...]:
        """The folders that user code can write to: what the disk limit counts."""
        return (self.source, self.home, self.tmp, self.modules)

    def make(self, uid: int, *, as_root: bool) -> None:
        """Make the folders anew, so that nothing of an earlier build is in them."""
        self.remove()
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in self._all:
            folder.mkdir(mode=0o700)
        if as_root:
            for folder in (*self.shared, self.overlay):
                os.chown(folder, uid, uid)
        self._write_names(uid)

    def make_modules(self, uid: int, *, as_root: bool) -> None:
        """Make the folder of `modules` anew, after it was moved away or deleted."""
        self.modules.mkdir(mode=0o700, exist_ok=True)
        if as_root:
            os.chown(self.modules, uid, uid)

    def remove(self) -> None:
        """Delete the folders. Raises OSError."""
        remove_tree(*self._all)

    @property
    def _all(self) -> tuple[Path, ...]:
        return (*self.shared, self.overlay, self.etc, self.spool)

    def _write_names(self, uid: int) -> None:
        """Node and git ask for the user's name: a passwd file with nobody else in it."""
        (self.etc / "passwd").write_text(f"root:x:0:0::/:/bin/false\nbuild:x:{uid}:{uid}::{HOME}:/bin/sh\n")
        (self.etc / "group").write_text(f"root:x:0:\nbuild:x:{uid}:\n")
        for name in ("passwd", "group"):
            (self.etc / name).chmod(0o644)


@dataclass(frozen=True)
class Sandbox:
    """One sandbox: whose folders, as which user, with which limits, and what else it may read.

    `readable` maps paths in the sandbox to paths of the host; `search` is put in front of PATH. `layered`: the clone
    lies above the workspace's `modules`, which no build can change: what it writes there goes to the clone's folder.
    `at_source` is another folder in the clone's place.
    """

    host: Host
    workspace: Workspace
    uid: int
    limits: Limits
    ca_bundle: Path | None = None
    readable: Mapping[str, str] = field(default_factory=dict)
    search: Sequence[str] = ()
    layered: bool = False
    at_source: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables that every program in the sandbox gets. None of ours is among them."""
        names = {
            "HOME": HOME,
            "USER": "build",
            "LOGNAME": "build",
            "PATH": ":".join((*self.search, DEFAULT_PATH)),
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
            "CI": "1",
            "AUTOSTACK": "1",
        }
        if self.ca_bundle:
            names |= dict.fromkeys(("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "GIT_SSL_CAINFO"), CA_BUNDLE)
        return names


def build_argv(sandbox: Sandbox, *, command_fd: int, seccomp_fd: int | None, folder: str = SOURCE) -> list[str]:
    """Return the command line that runs the script behind `command_fd` in `sandbox`, in `folder`.

    Variables and the command are in the script, not here: a command line can be read by every user of the host.
    """
    return [
        *_without_capabilities(sandbox.host),
        sandbox.host.bwrap,
        *_namespaces(sandbox),
        *_mounts(sandbox, command_fd),
        *(["--seccomp", str(seccomp_fd)] if seccomp_fd is not None else []),
        *("--chdir", folder, "--"),
        *_limits(sandbox),
        *_identity(sandbox),
        *("/bin/sh", COMMAND),
    ]


def build_script(command: str, env: Mapping[str, str]) -> str:
    """Return the script: the variables are set only here, after privileges were dropped.

    Were they bwrap's own, an LD_PRELOAD among them would run as root.
    """
    exports = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    # The kernel's choice, should memory run out, is the build and nothing else.
    return "\n".join(["echo 1000 > /proc/self/oom_score_adj", *exports, command, ""])


def join_commands(commands: Iterable[Sequence[str]]) -> str:
    """Return argument lists as a script's text that stops at the first that fails."""
    return " &&\n".join(shlex.join(command) for command in commands)


def _without_capabilities(host: Host) -> list[str]:
    # As an ordinary user bwrap refuses to start with a capability that a service manager gave us, such as that to
    # listen on port 80.
    return [] if host.is_root else [host.setpriv, "--inh-caps=-all", "--ambient-caps=-all", "--"]


def _namespaces(sandbox: Sandbox) -> list[str]:
    options = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not sandbox.host.is_root:
        options += ["--unshare-user", "--disable-userns", "--uid", str(sandbox.uid), "--gid", str(sandbox.uid)]
    return [*options, "--hostname", "build", "--die-with-parent", "--new-session", "--clearenv"]


def _mounts(sandbox: Sandbox, command_fd: int) -> list[str]:
    workspace = sandbox.workspace
    readable = {
        **sandbox.host.readable,
        "/etc/passwd": str(workspace.etc / "passwd"),
        "/etc/group": str(workspace.etc / "group"),
        **({CA_BUNDLE: str(sandbox.ca_bundle)} if sandbox.ca_bundle else {}),
        **sandbox.readable,
    }
    return [
        *(word for folder in _parents((*readable, HOME, COMMAND)) for word in ("--perms", "0755", "--dir", folder)),
        *(word for path, target in readable.items() for word in ("--ro-bind", target, path)),
        *(word for path, target in sandbox.host.links.items() for word in ("--symlink", target, path)),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm"),  # noqa: S108 - the sandbox's own
        *_clone(sandbox),
        *("--bind", str(workspace.home), HOME),
        *("--bind", str(workspace.tmp), "/tmp"),  # noqa: S108 - the sandbox's own
        *("--perms", "0555", "--ro-bind-data", str(command_fd), COMMAND),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
    ]


def _clone(sandbox: Sandbox) -> list[str]:
    workspace = sandbox.workspace
    if not sandbox.layered:
        return ["--bind", str(sandbox.at_source or workspace.source), SOURCE]
    # Unlike a bind mount's, its flags lack nosuid and nodev: no_new_privs, and no capability, have the same effect.
    above = ("--overlay", str(workspace.source), str(workspace.overlay), SOURCE)
    return ["--overlay-src", str(workspace.modules), *above]


def _parents(paths: Iterable[str]) -> list[str]:
    """Return the folders above `paths`. bwrap makes them too, but closed to others if what it mounts there is."""
    return sorted({str(parent) for path in paths for parent in Path(path).parents if parent != Path("/")})


def _limits(sandbox: Sandbox) -> list[str]:
    limits = sandbox.limits
    return [
        sandbox.host.prlimit,
        f"--nproc={limits.max_processes}",
        f"--fsize={limits.max_disk_bytes}",
        f"--nofile={MAX_OPEN_FILES}",
        "--core=0",
        "--",
    ]


def _identity(sandbox: Sandbox) -> list[str]:
    if not sandbox.host.is_root:
        return []  # bwrap itself has given up every privilege by then.
    uid = str(sandbox.uid)
    no_privileges = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return [sandbox.host.setpriv, "--reuid", uid, "--regid", uid, "--clear-groups", *no_privileges, "--"]
