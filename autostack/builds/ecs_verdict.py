"""What the end of a task means for its build. The agent itself says whether a build went well: a task never does.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from autostack.builds.ecs import NO_CAPACITY, Task

STOPPED = "STOPPED"
RUNNING = "RUNNING"
# An image that is not there, or not for us, will not be there the next time.
NO_IMAGE = re.compile(
    r"manifest unknown|not found|does not exist|pull access denied|403 Forbidden|no basic auth|invalid reference",
    re.IGNORECASE,
)
NO_MEMORY = re.compile(r"OutOfMemory", re.IGNORECASE)
MAX_REASON = 300


@dataclass(frozen=True)
class Verdict:
    """Why a task ended without its agent's word. `again`: another attempt may go better."""

    reason: str
    again: bool = True
    # It never ran, for want of machines: the build goes on waiting.
    is_capacity: bool = False
    ran: bool = True


def judge(task: Task, container: str) -> Verdict | None:
    """Return what to make of a task, by ECS's description; None as long as it has not ended."""
    if task.get("lastStatus") != STOPPED:
        return None
    code, reason = task.get("stopCode"), str(task.get("stoppedReason") or "")[:MAX_REASON]
    if code == "TaskFailedToStart":
        return _not_started(reason)
    if code == "SpotInterruption":
        return Verdict("AWS took the build's machine back (Spot interruption)")
    if code == "UserInitiated":
        return Verdict(f"The build's task was stopped: {reason}" if reason else "The build's task was stopped")
    return _exited(_container(task, container), reason)


def _not_started(reason: str) -> Verdict:
    if NO_CAPACITY.search(reason):
        return Verdict(reason, is_capacity=True, ran=False)
    again = not ("CannotPull" in reason and NO_IMAGE.search(reason))
    return Verdict(f"The build's task could not be started: {reason or 'no reason given'}", again=again, ran=False)


def _exited(container: dict[str, Any], task_reason: str) -> Verdict:
    exit_code, reason = container.get("exitCode"), str(container.get("reason") or task_reason)[:MAX_REASON]
    if NO_MEMORY.search(reason):
        return Verdict("The build needed more memory than its machine has", again=False)
    if exit_code is None:
        return Verdict(f"The build's machine failed: {reason}" if reason else "The build's machine failed")
    return Verdict(f"The build agent ended unexpectedly (exit code {exit_code})")


def _container(task: Task, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next((c for c in task.get("containers", ()) if c.get("name") == name), {})
    return found
