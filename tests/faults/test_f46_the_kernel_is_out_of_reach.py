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
