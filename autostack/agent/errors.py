"""How a build can end before its end."""

from __future__ import annotations


class AgentError(Exception):
    """Base of what the agent raises itself."""


class BuildFailed(AgentError):
    """The build cannot go on, and its owner can do something about it. The message is one line for them."""


class CannotIsolate(BuildFailed):
    """This machine can make no sandbox: another attempt would fare no better."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Builds are refused, as this machine cannot isolate them ({why}): docs/isolation.md says what it takes"
        )


class AttemptEnded(AgentError):
    """Web says that the attempt is over (cancelled, lost, superseded): kill everything, report nothing."""


class InfrastructureError(AgentError):
    """The fault is ours: web is unreachable, or a program that we need is missing. Nothing is reported as built."""
