"""How a program begins whose work copies of itself do: gunicorn's workers, a process for each job, the proxy's workers.

Nearly all that it makes as it starts stays until it ends. To look through that for garbage takes a third of the start,
and as long again whenever a copy does, or ends; and for what a copy looks at so, it needs memory of its own.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def made_to_stay() -> Iterator[None]:
    """Look for no garbage while this block makes what stays."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def made_for_good() -> Iterator[None]:
    """Look for no garbage while this block makes what stays, nor ever after among what there is at its end."""
    with made_to_stay():
        yield
        gc.freeze()
