"""What the process that speaks with user code gives up before it does: who it is, what it may, how much it may take."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import threading
from pathlib import Path

MAX_OPEN_FILES = 8_192
# A thousand connections with all that is kept for each, and the threads that look names up.
MAX_MEMORY_BYTES = 512 * 1024 * 1024
THREAD_STACK_BYTES = 256 * 1024
LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
# linux/prctl.h, linux/capability.h
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def give_up_privileges(uid: int | None) -> None:
    """Become `uid`, if that is somebody else, without any capability or a way to get one. Raises OSError."""
    if uid is not None:
        for number in range(int(LAST_CAPABILITY.read_text()) + 1):
            _prctl(PR_CAPBSET_DROP, number)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    # A service manager may have given an ordinary user some, such as that to listen on port 80.
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header, none = struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24)
    if _libc.capset(header, none) != 0:
        _raise()


def set_limits() -> None:
    """Have memory, files and threads bounded: what user code asks for is not to be the machine's trouble."""
    threading.stack_size(THREAD_STACK_BYTES)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Two sockets for each connection are more than most machines let a process have at first.
    files = MAX_OPEN_FILES if most == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, most)
    for kind, limit in (
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_DATA, MAX_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def _prctl(option: int, *values: int) -> None:
    arguments = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *arguments) != 0:
        _raise()


def _raise() -> None:
    error = ctypes.get_errno()
    raise OSError(error, os.strerror(error))
