"""Read a Procfile: one process type a line, `name: command`. Commands are argument lists here; no shell runs them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from signal import SIGTERM, Signals

from autostack.errors import ConfigurationError

LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")
RELEASE = "release"


@dataclass(frozen=True)
class Program:
    """A command under the supervisor. `name` goes before each line it prints and names its log file."""

    name: str
    command: tuple[str, ...]
    stop_signal: Signals = SIGTERM
    # Whether the console shows what it prints; its log file always has it.
    is_shown: bool = True
    # Whether the command is a sandbox around the program proper, which forwards no signals to it.
    is_wrapped: bool = False
    # How long it is given to end; None: as long as the supervisor gives everyone.
    grace_s: float | None = None


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """Return each process type's command, in the file's order. Raises ConfigurationError with the line's number."""
    commands: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None or match[1] in commands:
            raise ConfigurationError(f"Procfile, line {number}: each line must be a new `name: command`.")
        commands[match[1]] = _split(match[2], number)
    return commands


def programs(commands: Mapping[str, tuple[str, ...]], counts: Mapping[str, int]) -> list[Program]:
    """Return what to keep running: each process type as often as `counts` says, else once; `release` is not kept."""
    return [
        Program(name if counts.get(name, 1) == 1 else f"{name}.{number}", command)
        for name, command in commands.items()
        if name != RELEASE
        for number in range(1, counts.get(name, 1) + 1)
    ]


def _split(command: str, number: int) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise ConfigurationError(f"Procfile, line {number}: {error}.") from None
