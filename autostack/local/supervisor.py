"""Keep programs running: start them, restart with backoff what dies, end whole groups in order. One thread."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from autostack.errors import ConfigurationError
from autostack.local import child
from autostack.local.output import Relay
from autostack.local.procfile import Program

TICK_S = 0.2
ORPHANS_EVERY_S = 5.0
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
# Whoever has run this long is well, and its next restart does not wait for the deaths before.
WELL_AFTER_S = 30.0
# A service that has ended this often before it ever answered will not come.
MAX_DEATHS_AT_START = 3


class Kept:
    """One program that the supervisor keeps running, and the process that is it now."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.start_at = 0.0
        self._started_at = 0.0
        self._delay_s = FIRST_DELAY_S

    def started(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self._started_at = process, time.monotonic()

    def died(self) -> float:
        """Note the end of its process; return in how many seconds the next one is due."""
        now = time.monotonic()
        if now - self._started_at > WELL_AFTER_S:
            self._delay_s = FIRST_DELAY_S
        delay_s, self._delay_s = self._delay_s, min(self._delay_s * 2, MAX_DELAY_S)
        self.process, self.deaths, self.start_at = None, self.deaths + 1, now + delay_s
        return delay_s

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process = psutil.Process(self.process.pid)
            inner = process.children() if self.program.is_wrapped else []
            (inner or [process])[0].send_signal(self.program.stop_signal)

    def kill(self) -> None:
        """End what is left of its process group."""
        if self.process is not None:
            child.end_group(self.process.pid)
            self.process.wait()


class Supervisor:
    """Runs programs with one environment and one working folder, and gives each `grace_s` seconds to end, or its own.

    Every child of the process that comes later is its business; those that there were before are somebody else's.
    """

    def __init__(self, relay: Relay, env: Mapping[str, str], cwd: Path, grace_s: float) -> None:
        self._relay = relay
        self._env = dict(env)
        self._cwd = cwd
        self._grace_s = grace_s
        self._tiers: list[list[Kept]] = []
        self._others = frozenset(process.pid for process in psutil.Process().children())
        self._orphans_due = 0.0
        self.is_stopping = False
        self._is_hurried = False

    def request_stop(self, *, hurry: bool = False) -> None:
        """Have `run` return and `stop` follow; asked again, or with `hurry`, nobody is waited for any more."""
        self._is_hurried = hurry or self.is_stopping
        self.is_stopping = True

    def keep(self, programs: Sequence[Program]) -> list[Kept]:
        """Start programs and keep them running; those kept last are ended first. Raises ConfigurationError."""
        tier = [Kept(program) for program in programs]
        self._tiers.append(tier)
        for kept in tier:
            kept.started(self._start(kept.program))
        return tier

    def keep_service(self, program: Program, answers: Callable[[], bool], timeout_s: float) -> None:
        """Keep a program that others need, and return when it answers. Raises ConfigurationError if it does not."""
        (kept,) = self.keep([program])
        deadline = time.monotonic() + timeout_s
        while not self.is_stopping and not (kept.is_running() and answers()):
            if kept.deaths >= MAX_DEATHS_AT_START or time.monotonic() > deadline:
                reason = self._relay.last_line(program.name) or "it does not answer"
                raise ConfigurationError(f"{program.name} does not start: {reason}")
            self.tend()

    def complete(self, program: Program) -> None:
        """Run a program once, to its end. Raises ConfigurationError unless it ends well."""
        process = self._start(program)
        while process.poll() is None and not self.is_stopping:
            self.tend(known=process.pid)
        child.end_group(process.pid)
        code = process.wait()
        self._relay.pump(0)
        if code != 0 and not self.is_stopping:
            reason = self._relay.last_line(program.name)
            raise ConfigurationError(f"{program.name} {how_it_ended(code)}: {reason}")

    def run(self) -> None:
        """Tend until a stop is requested."""
        while not self.is_stopping:
            self.tend()

    def tend(self, known: int | None = None) -> None:
        """Carry output for a moment, then restart what has died. `known` is a child that isn't kept, nor an orphan."""
        self._relay.pump(TICK_S)
        for kept in self._everything():
            if kept.process is not None and kept.process.poll() is not None:
                self._note_death(kept, kept.process)
            elif kept.process is None and time.monotonic() >= kept.start_at:
                self._restart(kept)
        if time.monotonic() >= self._orphans_due:
            self._end_orphans(known)

    def stop(self) -> None:
        """End everything: the last tier first, each asked, given its time, killed; then whatever is left below us."""
        for tier in reversed(self._tiers):
            self._end(tier)
        child.end_descendants(spared=self._others)
        self._relay.pump(0)

    def _start(self, program: Program) -> subprocess.Popen[bytes]:
        # A pipe of ours and not Popen's, since grandchildren may go on writing after the process has ended.
        reader, writer = os.pipe()
        try:
            process = child.start(program.command, env=self._env, cwd=self._cwd, stdout=writer, stderr=writer)
        except OSError as error:
            os.close(reader)
            raise ConfigurationError(f"Cannot run {program.command[0]} ({program.name}): {error.strerror}.") from None
        finally:
            os.close(writer)
        self._relay.attach(program.name, reader, is_shown=program.is_shown)
        return process

    def _restart(self, kept: Kept) -> None:
        try:
            kept.started(self._start(kept.program))
        except ConfigurationError as error:
            # Out of memory, processes or descriptors for now: the others go on, and this one is tried again.
            self._relay.say(kept.program.name, f"{error.message} Tried again in {kept.died():g} s")

    def _note_death(self, kept: Kept, process: subprocess.Popen[bytes]) -> None:
        child.end_group(process.pid)
        delay_s = kept.died()
        self._orphans_due = 0.0
        self._relay.say(kept.program.name, f"{how_it_ended(process.returncode)}; starts again in {delay_s:g} s")

    def _end_orphans(self, known: int | None) -> None:
        """Kill what a dead process left behind in other groups, before its successor meets it."""
        kept = {kept.process.pid for kept in self._everything() if kept.process is not None}
        known_pids = kept | self._others | {known}
        orphans = [process for process in psutil.Process().children() if process.pid not in known_pids]
        for orphan in orphans:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                orphan.kill()
        child.reap(orphans)
        self._orphans_due = time.monotonic() + (TICK_S if orphans else ORPHANS_EVERY_S)

    def _end(self, tier: Sequence[Kept]) -> None:
        if not self._is_hurried:
            for kept in tier:
                kept.ask_to_stop()
        graces = [self._grace_s if kept.program.grace_s is None else kept.program.grace_s for kept in tier]
        deadline = time.monotonic() + max(graces, default=0)
        while any(kept.is_running() for kept in tier) and time.monotonic() < deadline and not self._is_hurried:
            self._relay.pump(TICK_S / 4)
        for kept in tier:
            kept.kill()

    def _everything(self) -> list[Kept]:
        return [kept for tier in self._tiers for kept in tier]


def how_it_ended(code: int) -> str:
    """Return words for a process's exit code, negative for a signal as in `subprocess`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
