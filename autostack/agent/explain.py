"""What an exit code means, where that is known."""

from __future__ import annotations

import re
import signal

from autostack.agent.order import Limits
from autostack.agent.process import Ended
from autostack.agent.text import size

COMMAND_NOT_FOUND = 127
KILLED = 128 + signal.SIGKILL
FILE_TOO_LARGE = 128 + signal.SIGXFSZ
# What dash, bash, libuv and Go's runtime say when RLIMIT_NPROC is reached.
NO_MORE_PROCESSES = re.compile(
    rb"Cannot fork|fork: Resource temporarily unavailable|spawn \S+ EAGAIN|pthread_create failed"
)


def explain(ended: Ended, limits: Limits) -> str:
    """Return what to say behind an exit code: a colon and its meaning, or nothing."""
    if ended.lacked_processes or NO_MORE_PROCESSES.search(ended.tail):
        return f": it reached the limit of {limits.max_processes:,} processes and threads"
    return {
        COMMAND_NOT_FOUND: ": a program that it names is not installed",
        KILLED: ": it was killed, as the kernel does when memory runs out",
        FILE_TOO_LARGE: f": a file grew larger than {size(limits.max_disk_bytes)}",
    }.get(ended.exit_code, "")
