"""The sandbox that clone, install and build each run in: bubblewrap's mounts, another user, no privileges.

As root, bwrap makes the mounts without a user namespace and setpriv then becomes an unused user; with a user
namespace alone, user code would stay uid 0 of the host. As an ordinary user, a user namespace is all there is.
In a container of the build's own, which may mount nothing, `contained` stands in bwrap's place.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autostack.agent import join
from autostack.agent.cgroups import OWN_PROCESSES, Group
from autostack.agent.files import remove_tree
from autostack.agent.host import Host
from autostack.agent.network import Entrance
from autostack.agent.order import Limits

FIRST_UID = 64_000
# Of the way out of the sandbox of each.
FIRST_EGRESS_UID = 62_000
SOURCE = "/build"
HOME = "/home/build"
COMMAND = "/run/autostack/command"
CA_BUNDLE = "/etc/autostack/ca.pem"
SHM_BYTES = 64 * 1024 * 1024
MAX_OPEN_FILES = 16_384
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# Names are looked up outside: what the machine itself is told of them would be no use in here.
NETWORK_FILES = {
    "hosts": "127.0.0.1 localhost build\n::1 localhost\n",
    "resolv.conf": "nameserver 127.0.0.1\noptions timeout:10\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}
ETC_FILES = ("passwd", "group", *NETWORK_FILES)


@dataclass(frozen=True)
class Workspace:
    """The folders of one attempt. `spool` and `etc` belong to the agent, the others to the sandbox's user."""

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
    def mirror(self) -> Path:
        """The repository's mirror, while the clone is made. No user code sees it."""
        return self.root / "mirror"

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
        for folder in (*self.shared, self.overlay, self.mirror):
            self.make_folder(folder, uid, as_root=as_root)
        for folder in (self.etc, self.spool):
            folder.mkdir(mode=0o700)
        self._write_names(uid)

    def make_folder(self, folder: Path, uid: int, *, as_root: bool) -> None:
        """Make one of the user's folders, or make it again after it was moved away or deleted."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if as_root:
            os.chown(folder, uid, uid)

    def remove(self) -> None:
        """Delete the folders. Raises OSError."""
        remove_tree(*self._all)

    @property
    def _all(self) -> tuple[Path, ...]:
        return (*self.shared, self.overlay, self.mirror, self.etc, self.spool)

    def _write_names(self, uid: int) -> None:
        """Node and git ask for the user's name: a passwd file with nobody else in it."""
        (self.etc / "passwd").write_text(f"root:x:0:0::/:/bin/false\nbuild:x:{uid}:{uid}::{HOME}:/bin/sh\n")
        (self.etc / "group").write_text(f"root:x:0:\nbuild:x:{uid}:\n")
        for name, text in NETWORK_FILES.items():
            (self.etc / name).write_text(text)
        for name in ETC_FILES:
            (self.etc / name).chmod(0o644)


class ContainersWorkspace(Workspace):
    """The folders in a container of the build's own: they are where user code sees them."""

    @property
    def source(self) -> Path:
        return Path(SOURCE)

    @property
    def home(self) -> Path:
        return Path(HOME)

    @property
    def tmp(self) -> Path:
        return Path("/tmp")  # noqa: S108 - the build's own


@dataclass(frozen=True)
class Sandbox:
    """One sandbox: whose folders, as which user, with which limits, and what else it may read.

    `readable` maps paths in the sandbox to paths of the host; `search` is put in front of PATH. `layered`: the clone
    lies above the workspace's `modules`, which no build can change: what it writes there goes to the clone's folder.
    `at_source` is another folder in the clone's place. `shares_network`: the machine's network is the sandbox's too.
    `group`: the control group that it runs in, where the machine lets us make one.
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
    shares_network: bool = False
    group: Group | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables that every program in the sandbox gets. None of ours is among them."""
        names = {
            "HOME": str(self.workspace.home) if self.host.is_container else HOME,
            "USER": "build",
            "LOGNAME": "build",
            "PATH": ":".join((*self.search, DEFAULT_PATH)),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.workspace.tmp) if self.host.is_container else "/tmp",  # noqa: S108 - the sandbox's own
            "CI": "1",
            "AUTOSTACK": "1",
        }
        if self.ca_bundle:
            names |= dict.fromkeys(("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "GIT_SSL_CAINFO"), CA_BUNDLE)
        return names


def build_argv(
    sandbox: Sandbox,
    *,
    command_fd: int,
    seccomp_fd: int | None,
    folder: str = SOURCE,
    entrance: Entrance | None = None,
) -> list[str]:
    """Return the command line that runs the script behind `command_fd` in `sandbox`, in `folder`.

    Without an `entrance` to a network there is one with nothing in it.

    Variables and the command are in the script, not here: a command line can be read by every user of the host.
    """
    groups = sandbox.group.folders if sandbox.group else ()
    if sandbox.host.bwrap is None:
        return [*join.command_line(groups, None, None), *_contained(sandbox, command_fd, seccomp_fd, folder)]
    return [
        *join.command_line(groups, entrance.user if entrance else None, entrance.net if entrance else None),
        *_without_capabilities(sandbox.host),
        sandbox.host.bwrap,
        *_namespaces(sandbox),
        *([] if entrance or sandbox.shares_network else ["--unshare-net"]),
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


def _contained(sandbox: Sandbox, command_fd: int, seccomp_fd: int | None, folder: str) -> list[str]:
    """Where nothing can be mounted, what lies elsewhere is linked to its place."""
    links = {**({CA_BUNDLE: str(sandbox.ca_bundle)} if sandbox.ca_bundle else {}), **sandbox.readable}
    # Elsewhere when it is not the clone: a package manager is installed in a room of its own.
    where = f"{sandbox.workspace.source}{folder.removeprefix(SOURCE)}"
    return [
        *(sys.executable, "-I", "-m", "autostack.agent.contained", "--uid", str(sandbox.uid)),
        *("--script", COMMAND, "--script-fd", str(command_fd)),
        *(["--seccomp-fd", str(seccomp_fd)] if seccomp_fd is not None else []),
        *(word for path, target in links.items() for word in ("--link", target, path)),
        *("--chdir", where, "--"),
        *_limits(sandbox),
        *_identity(sandbox),
        *("/bin/sh", COMMAND),
    ]


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
        **{f"/etc/{name}": str(workspace.etc / name) for name in ETC_FILES},
        **(_network_files() if sandbox.shares_network else {}),
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


def _network_files() -> dict[str, str]:
    """Return the machine's own. A link (resolv.conf often is one) is bound as the file that it leads to."""
    return {path: os.path.realpath(path) for name in NETWORK_FILES if os.path.exists(path := f"/etc/{name}")}


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
    # A group's limit comes first: it counts this build alone, and how often it refused.
    processes = limits.max_processes + (OWN_PROCESSES if sandbox.group else 0)
    return [
        sandbox.host.prlimit,
        f"--nproc={processes}",
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
