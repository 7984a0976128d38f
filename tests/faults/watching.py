"""Looking into a running Autostack from outside: its processes, its database, and waiting for what they do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psutil
import psycopg

from tests.processes import below_no_other, processes_where
from tests.stack import FINAL, Stack

T = TypeVar("T")
# Of a build that a test ends: longer than any test takes to get there.
ENDLESS = "SECONDS=600"


def environment_of(stack: Stack) -> dict[str, str]:
    """Return what the stack's processes are given: the addresses of its services."""
    # As it was read with the rest: the first one may be a horse whose job has just ended, or there is none yet.
    return dict(wait_for(lambda: stack.processes("worker.py", "control"))[0].info["environ"])


def wait_for(condition: Callable[[], T], within_s: float = 120.0) -> T:
    """Return what `condition` returns once that is true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def ended_in_spite(stack: Stack, deployment: Mapping[str, Any]) -> dict[str, Any]:
    """Wait for a deployment's end, and return it, though web may answer 503 meanwhile."""

    def ended() -> dict[str, Any] | None:
        answer = stack.client.get(f"/api/deployments/{deployment['id']}")
        return dict(answer.json()) if answer.is_success and answer.json()["status"] in FINAL else None

    return wait_for(ended)


def postgres(stack: Stack) -> psutil.Process:
    """Return the embedded server's own process, below the sandbox that it may run in."""
    family = processes_where(lambda facts: _is_postgres(facts["cmdline"], stack))
    [server] = below_no_other(family)
    return server


def _is_postgres(command: list[str], stack: Stack) -> bool:
    return bool(command) and command[0].endswith("/postgres") and str(stack.data_dir / "postgres") in command


def attempts(database: psycopg.Connection[Any], deployment: Mapping[str, Any]) -> list[str | None]:
    """Return how each attempt at a deployment ended, None for one that has not."""
    rows = database.execute(
        "SELECT outcome FROM build_attempts WHERE deployment_id = %s ORDER BY number", [deployment["id"]]
    )
    return [outcome for (outcome,) in rows]


def speaking(stack: Stack, deployment: Mapping[str, Any]) -> None:
    """Wait until the user's own build command has said a word."""
    stack.reaches(deployment, {"building", "deploying", "success"})
    address = f"/api/deployments/{deployment['id']}"
    wait_for(lambda: any("left " in line for line in stack.call("GET", address)["logs"]))


def building(stack: Stack, deployment: Mapping[str, Any]) -> psutil.Process:
    """Wait until the user's own build command runs and has said a word, and return its process."""
    speaking(stack, deployment)
    return wait_for(lambda: user_processes(stack))[0]


def user_processes(stack: Stack) -> list[psutil.Process]:
    """Return the processes of user code below this Autostack's builders: other tests have builds of their own."""
    return [process for process in _below_builders(stack) if _command(process)[:2] == ["node", "build.js"]]


def agents(stack: Stack) -> list[psutil.Process]:
    """Return the build agents that run."""
    found = [process for process in _below_builders(stack) if "autostack.agent" in _command(process)]
    # A child that was just forked looks like its parent.
    return [process for process in found if not any(parent in found for parent in _parents(process))]


def builder_of(process: psutil.Process) -> tuple[psutil.Process, psutil.Process]:
    """Return the worker and the work-horse above a process of a build."""
    workers = [parent for parent in process.parents() if "builds" in parent.cmdline()]
    return workers[1], workers[0]


def _below_builders(stack: Stack) -> list[psutil.Process]:
    builders = stack.processes("worker.py", "builds")
    return list({child for builder in builders for child in _children(builder)})


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _parents(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.parents()
    return []


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []
