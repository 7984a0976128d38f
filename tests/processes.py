"""The machine's processes, as they were at one moment: any of them may end while a test looks at it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import psutil

FACTS = ["pid", "ppid", "name", "status", "cmdline", "environ", "uids"]


def processes_where(condition: Callable[[dict[str, Any]], bool]) -> list[psutil.Process]:
    """Return the processes of whose facts this is true. Of a zombie, or another's, some are not known: they are empty.

    The facts are read once, and stay in each one's `info`: ask there rather than the process, which may be gone.
    """
    return [process for process in _with_facts() if condition(process.info)]


def processes_of_user(uid: int) -> list[psutil.Process]:
    """Return what runs as this user, in any namespace."""
    return processes_where(lambda facts: facts["uids"] is not None and facts["uids"].real == uid)


def _with_facts() -> Iterator[psutil.Process]:
    for process in psutil.process_iter(FACTS):
        process.info["cmdline"] = process.info["cmdline"] or []
        process.info["environ"] = process.info["environ"] or {}
        yield process


def kill(victims: Iterable[psutil.Process]) -> None:
    """Kill these, all at once, and wait until they are gone."""
    victims = list(victims)
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    psutil.wait_procs(victims, timeout=60)


def sockets_of(process: psutil.Process) -> list[Any]:
    """Return the internet sockets that a process has; one that has ended has none."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.net_connections(kind="inet"))
    return []


def below_no_other(family: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those whose parent is not among them: what was just forked looks like its parent."""
    family = list(family)
    below = below_each_other(family)
    return [process for process in family if process not in below]


def below_each_other(family: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those whose parent is among them: of gunicorn's, the workers without their master."""
    family = list(family)
    pids = {process.pid for process in family}
    return [process for process in family if process.info["ppid"] in pids]
