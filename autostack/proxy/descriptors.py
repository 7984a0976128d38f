"""How many files and sockets this process may have open: half for visitors, a quarter at most for other servers."""

from __future__ import annotations

import contextlib
import resource

# Where the system sets no limit.
ENOUGH = 64_000


def allowed_descriptors() -> int:
    """Return how many that are, after raising it as far as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return ENOUGH if soft == resource.RLIM_INFINITY else soft
