"""A container as Fargate gives one to a task, made by bubblewrap: for what runs in the builder image.

It has process ids, folders and a host name of its own, root with the capabilities of `deploy/aws.yaml`, and may mount
nothing. Its files are this machine's: the image itself is built by Docker alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autostack.agent.contained import MARK
from autostack.agent.host import inspect_host
from autostack.agent.sandbox import FIRST_UID, HOME
from tests.agents import Site
from tests.dockerfile import ROOT, entry_point, read
from tests.peers.web_for_agents import ATTEMPT, BOOTSTRAP_TOKEN

ENTRY_POINT = entry_point(read())
WORK_DIR = ENTRY_POINT[ENTRY_POINT.index("--work-dir") + 1]
# What Docker and Fargate give, less what the task definition drops, with the one that Fargate lets it add.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETPCAP", "SETUID", "SYS_PTRACE")

HAS_CONTAINERS = os.geteuid() == 0 and not ROOT.is_relative_to("/tmp")
needs_root = pytest.mark.skipif(
    not HAS_CONTAINERS,
    reason="only root can give a container its capabilities, and its /tmp is the build's: the checkout lies elsewhere",
)


class ContainedSite(Site):
    """A site whose agent is started as the image starts it, and told by its environment what ECS overrides."""

    def command(self) -> list[str]:
        return [*container(self.folder), sys.executable, *ENTRY_POINT[1:]]

    def environment(self) -> dict[str, str]:
        told = {"AGENT_API_URL": self.web.url, "AUTOSTACK_ATTEMPT": ATTEMPT}
        return {**super().environment(), **told, "AUTOSTACK_BOOTSTRAP_TOKEN": BOOTSTRAP_TOKEN}


def container(folder: Path) -> list[str]:
    """Return what a command line begins with to run in a container, whose own files go to `folder`."""
    host = inspect_host()
    assert host.bwrap is not None
    for name, text in _own_files().items():
        (folder / name).write_text(text)
    files = {"passwd": "/etc/passwd", "group": "/etc/group", "shadow": "/etc/shadow", "mark": str(MARK)}
    (folder / "shadow").chmod(0o600)
    own = (sys.prefix, sys.base_prefix, str(ROOT), "/etc/hosts", "/etc/nsswitch.conf")
    network = {"/etc/resolv.conf": os.path.realpath("/etc/resolv.conf")}
    shown = {**{path: path for path in own}, **network, **host.readable}
    return [
        *(host.bwrap, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "task", "--die-with-parent"),
        *("--cap-drop", "ALL", *(word for name in CAPABILITIES for word in ("--cap-add", f"CAP_{name}"))),
        *(
            word
            for path in _folders(*shown, *files.values(), HOME, "/tmp/x")
            for word in ("--perms", "0755", "--dir", path)
        ),
        *(word for path, target in shown.items() for word in ("--ro-bind", target, path)),
        *(word for path, target in host.links.items() for word in ("--symlink", target, path)),
        *(word for name, path in files.items() for word in ("--ro-bind", str(folder / name), path)),
        *("--proc", "/proc", "--dev", "/dev", "--"),
    ]


def _folders(*paths: str) -> list[str]:
    """Return the folders above paths. Bubblewrap makes them too, but closed to others."""
    return sorted({str(parent) for path in paths for parent in Path(path).parents if parent != Path("/")})


def _own_files() -> dict[str, str]:
    """Return the files of the image that user code may or may not read."""
    return {
        "passwd": f"root:x:0:0::/root:/bin/sh\nbuild:x:{FIRST_UID}:{FIRST_UID}::{HOME}:/bin/sh\n",
        "group": f"root:x:0:\nbuild:x:{FIRST_UID}:\n",
        "shadow": "root:*:the-containers-shadow\n",
        "mark": "",
    }
