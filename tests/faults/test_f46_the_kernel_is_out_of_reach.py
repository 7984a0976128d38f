"""Row 46: TIOCSTI, ptrace, nested user namespace, mknod → denied."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from autostack.agent.seccomp import ARCHITECTURES, CLONE_NEWUSER, TIOCSTI
from tests.agents import make_site

NUMBERS = ARCHITECTURES[platform.machine()]


def syscall(arguments: str) -> str:
    """Return a command that makes one system call, and fails if the kernel answers EPERM."""
    return f"perl -MErrno -e 'exit(syscall({arguments}) == -1 && $!{{EPERM}} ? 1 : 0)'"


VSOCK = 40


def test_f46_no_socket_is_made_that_a_network_namespace_does_not_hold(tmp_path: Path) -> None:
    tried = "\n".join(
        f"perl -e 'exit(syscall({NUMBERS.socket}, {family}, 1, 0) == -1 ? 1 : 0)' && echo {name} || echo no {name}"
        for name, family in {"unix": 1, "ipv4": 2, "ipv6": 10, "vsock": VSOCK, "bluetooth": 31, "crypto": 38}.items()
    )
    with make_site(tmp_path, {"a.txt": ""}, settings={"buildCommand": tried, "outputDir": "."}) as site:
        site.build()
        made = [text for text in site.web.texts if text.removeprefix("no ") in {"unix", "ipv4", "ipv6", "vsock"}]
        assert made == ["unix", "ipv4", "ipv6", "no vsock"]
        assert {"no bluetooth", "no crypto"} <= set(site.web.texts)


@pytest.mark.parametrize(
    "command",
    [
        syscall(f"{NUMBERS.ioctl}, 0, {TIOCSTI}, 0"),
        syscall(f"{NUMBERS.denied[0]}, 0, 0, 0, 0"),
        syscall(f"{NUMBERS.unshare}, {CLONE_NEWUSER}"),
        syscall(f"{NUMBERS.clone}, {CLONE_NEWUSER} | 17, 0, 0, 0, 0"),
        "unshare --user true",
        "unshare --mount true",
        "mknod device c 1 3",
        "mount -t tmpfs none /tmp",
        "chroot / true",
        "setpriv --reuid 0 true",
    ],
)
def test_f46_what_attacks_on_the_kernel_begin_with_is_refused(tmp_path: Path, command: str) -> None:
    tried = f"if {command}; then echo allowed; else echo refused; fi"
    with make_site(tmp_path, {"a.txt": ""}, settings={"buildCommand": tried, "outputDir": "."}) as site:
        site.build()
        assert site.web.texts.count("refused") == 1, site.web.log
