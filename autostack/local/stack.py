"""The supervising process of `autostack up`: starts the services, migrates, runs the processes, ends all in order.

It is a child of the command that the user sees. Each of the two adopts the orphans below it, so that when either is
killed outright the other ends everything that is left: grandchildren in sessions of their own too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import ClassVar, Protocol

from autostack.errors import ConfigurationError
from autostack.local import child
from autostack.local.output import Relay
from autostack.local.procfile import Program
from autostack.local.supervisor import Supervisor

SERVICE_TIMEOUT_S = 60
GRACE_S = 5
# PostgreSQL writes a checkpoint as it ends. On a slow disk that takes a while, and so does recovery without it.
SERVICE_GRACE_S = 60
# What this process is sent when the command that started it dies.
FRONT_DIED = signal.SIGUSR1
# SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
STOP_SIGNALS = {"postgres": SIGINT}


class Service(Protocol):
    """An embedded server. `variable` is the setting that names it to the processes, and `url` its value."""

    name: ClassVar[str]
    variable: ClassVar[str]

    @property
    def url(self) -> str: ...
    def prepare(self) -> None: ...
    def command(self) -> list[str]: ...
    def is_wrapped(self) -> bool: ...
    def answers(self) -> bool: ...


@dataclass(frozen=True)
class Stack:
    """All that runs for one data folder."""

    data_dir: Path
    working_dir: Path
    environment: Mapping[str, str] = field(repr=False)
    services: tuple[Service, ...]
    release: Program | None
    programs: tuple[Program, ...]
    grace_s: float = GRACE_S


def supervise(stack: Stack, front_pid: int) -> None:
    """Run the stack until asked to stop by SIGTERM or left alone by `front_pid`, then exit the process."""
    os.setsid()
    relay = Relay(stack.data_dir / "log")
    supervisor = Supervisor(relay, stack.environment, stack.working_dir, stack.grace_s)
    signal.signal(SIGINT, signal.SIG_IGN)
    signal.signal(SIGTERM, lambda *_: supervisor.request_stop())
    signal.signal(FRONT_DIED, lambda *_: supervisor.request_stop(hurry=True))
    child.adopt_orphans()
    child.die_with_parent(front_pid, FRONT_DIED)
    with _explained():
        try:
            _run(stack, supervisor)
        finally:
            supervisor.stop()


def _run(stack: Stack, supervisor: Supervisor) -> None:
    for service in stack.services:
        supervisor.keep_service(_program(service), service.answers, SERVICE_TIMEOUT_S)
    if stack.release is not None and not supervisor.is_stopping:
        supervisor.complete(stack.release)
    if not supervisor.is_stopping:
        supervisor.keep(stack.programs)
        supervisor.run()


def _program(service: Service) -> Program:
    return Program(
        service.name,
        tuple(service.command()),
        stop_signal=STOP_SIGNALS.get(service.name, SIGTERM),
        is_shown=False,
        is_wrapped=service.is_wrapped(),
        grace_s=SERVICE_GRACE_S,
    )


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """End the process with one line on what could not be started."""
    try:
        yield
    except ConfigurationError as error:
        sys.exit(f"autostack: {error.message}")
