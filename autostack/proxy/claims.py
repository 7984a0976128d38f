"""Which files the workers of this machine fetch right now, so that no two of them fetch the same.

A claim is the kernel's lock on one byte of a file that stays empty. It ends with the process that has it, however that
ends, and there is nothing to be tidied up.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# A claim that cannot be had for so long is done without: what is in the way of another's read need not be in ours.
PATIENCE_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.02
# Of a name's hexadecimal digits, so many say which byte is its own: a file has no byte beyond the 63rd bit.
DIGITS = 15

# Lets others have what was taken; to be called once.
Release = Callable[[], None]


class Claims:
    """Claims on names of hexadecimal digits and dashes. For one event loop."""

    def __init__(self, path: Path) -> None:
        """Raises OSError for a file that cannot be made."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # The kernel's locks don't keep a process out of what it has itself.
        self._own: set[str] = set()

    async def take(self, name: str) -> Release:
        """Wait until nobody else has this name, and take it. Who waits for too long has nothing to release."""
        pause_s, deadline = FIRST_PAUSE_S, time.monotonic() + PATIENCE_S
        while (release := self.take_now(name)) is None:
            if time.monotonic() > deadline:
                return release_nothing
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return release

    def take_now(self, name: str) -> Release | None:
        """Take a name. None: somebody has it."""
        if name in self._own or not self._lock(name):
            return None
        self._own.add(name)
        return partial(self._release, name)

    def is_taken(self, name: str) -> bool:
        """Tell whether somebody has a name."""
        release = self.take_now(name)
        if release is not None:
            release()
        return release is None

    def _release(self, name: str) -> None:
        self._own.discard(name)
        with contextlib.suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte(name))

    def _lock(self, name: str) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(name))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            # On a file system that knows no locks, each worker fetches for itself.
            return True
        return True


def release_nothing() -> None:
    """Stand for the release of what was not taken."""


def _byte(name: str) -> int:
    return int(name.replace("-", "")[:DIGITS], 16)
