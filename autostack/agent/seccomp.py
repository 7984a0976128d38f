"""A seccomp filter for the sandbox: system calls that a build never needs and that attacks on the kernel begin with.

The program is classic BPF (linux/filter.h) over `struct seccomp_data` (linux/seccomp.h): nr at 0, arch at 4,
args[n] at 16 + 8 n, little-endian.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
NR, ARCH = 0, 4
X32_BIT = 0x40000000
CLONE_NEWUSER = 0x10000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. A network namespace does not hold the others: vsock leads to a virtual
# machine's host, and the kernel's rarely used protocols are where its bugs are.
SOCKET_FAMILIES = (1, 2, 10, 16)

# The same numbers on every architecture: io_uring, the new mount calls, mount_setattr.
EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 442)
CLONE3 = 435


@dataclass(frozen=True)
class Architecture:
    """The numbers of asm/unistd.h that the filter needs, and the AUDIT_ARCH of linux/audit.h."""

    audit: int
    clone: int
    unshare: int
    ioctl: int
    socket: int
    # ptrace, process_vm_readv and _writev, mount, umount2, pivot_root, add_key, request_key, keyctl, bpf,
    # perf_event_open, userfaultfd, kexec_load, kexec_file_load, (f)init_module, delete_module, open_by_handle_at,
    # setns; shmget and msgget, whose memory belongs to no process, so that no limit would count it
    denied: tuple[int, ...]


ARCHITECTURES = {
    "x86_64": Architecture(
        audit=0xC000003E,
        clone=56,
        unshare=272,
        ioctl=16,
        socket=41,
        denied=(101, 310, 311, 165, 166, 155, 248, 249, 250, 321, 298, 323, 246, 320, 175, 313, 176, 304, 308, 29, 68),
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        clone=220,
        unshare=97,
        ioctl=29,
        socket=198,
        denied=(117, 270, 271, 40, 39, 41, 217, 218, 219, 280, 241, 282, 104, 294, 105, 273, 106, 265, 268, 194, 186),
    ),
}


def build_filter(machine: str = platform.machine()) -> bytes | None:
    """Return the filter as bwrap's `--seccomp` reads it, or None for an architecture whose numbers we don't know."""
    architecture = ARCHITECTURES.get(machine)
    return b"".join(_instructions(architecture)) if architecture else None


def _instructions(architecture: Architecture) -> Iterator[bytes]:
    # Another ABI (32-bit, x32) has other numbers: nothing of it is allowed.
    yield _op(LOAD, ARCH)
    yield _op(JUMP_EQUAL, architecture.audit, then=1)
    yield _op(RETURN, ERRNO | EPERM)
    yield _op(LOAD, NR)
    yield _op(JUMP_AT_LEAST, X32_BIT, otherwise=1)
    yield _op(RETURN, ERRNO | EPERM)
    for number in (*architecture.denied, *EVERYWHERE):
        yield from _deny(number, EPERM)
    # clone3 hides its flags behind a pointer; libc falls back to clone when it is told that there is no clone3.
    yield from _deny(CLONE3, ENOSYS)
    for number in (architecture.clone, architecture.unshare):
        yield from _deny_argument(number, 0, JUMP_ANY_BIT, CLONE_NEWUSER)
    for request in (TIOCSTI, TIOCLINUX):
        yield from _deny_argument(architecture.ioctl, 1, JUMP_EQUAL, request)
    yield from _deny_other_values(architecture.socket, 0, SOCKET_FAMILIES, EAFNOSUPPORT)
    yield _op(RETURN, ALLOW)


def _deny(number: int, errno: int) -> Iterator[bytes]:
    yield _op(JUMP_EQUAL, number, otherwise=1)
    yield _op(RETURN, ERRNO | errno)


def _deny_argument(number: int, argument: int, test: int, value: int) -> Iterator[bytes]:
    yield _op(LOAD, NR)
    yield _op(JUMP_EQUAL, number, otherwise=3)
    yield _op(LOAD, 16 + 8 * argument)
    yield _op(test, value, otherwise=1)
    yield _op(RETURN, ERRNO | EPERM)


def _deny_other_values(number: int, argument: int, allowed: tuple[int, ...], errno: int) -> Iterator[bytes]:
    yield _op(LOAD, NR)
    yield _op(JUMP_EQUAL, number, otherwise=len(allowed) + 2)
    yield _op(LOAD, 16 + 8 * argument)
    for place, value in enumerate(allowed):
        yield _op(JUMP_EQUAL, value, then=len(allowed) - place)
    yield _op(RETURN, ERRNO | errno)


def _op(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("<HBBI", code, then, otherwise, value)
