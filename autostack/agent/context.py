"""What every step of one build shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from autostack.agent.api import Api
from autostack.agent.logs import Log
from autostack.agent.network import Reach
from autostack.agent.order import Order
from autostack.agent.prefetch import Prefetch
from autostack.agent.process import Ended
from autostack.agent.runner import Runner
from autostack.agent.shelf import Shelf
from autostack.agent.text import duration


@dataclass(frozen=True)
class Build:
    """One build under way."""

    order: Order
    api: Api
    log: Log
    runner: Runner
    tools_dir: Path
    # None: this machine keeps no folders from build to build.
    shelf: Shelf | None
    mirrors: Shelf | None = None
    # What is read of caches while the repository is cloned.
    prefetch: Prefetch | None = None

    @property
    def source(self) -> Path:
        """The clone, on the host's side."""
        return self.runner.sandbox.workspace.source

    @property
    def internet(self) -> Reach:
        """What install and build may reach."""
        order = self.order
        return Reach(True, allowed=order.egress_allowed, ports=order.egress_ports, refused=order.egress_refused)

    @property
    def caches(self) -> Prefetch | Api:
        """Who has the build caches."""
        return self.prefetch or self.api

    def with_runner(self, runner: Runner) -> Build:
        return replace(self, runner=runner)

    def run_command(
        self, command: str, folder: str, env: Mapping[str, str], write: Callable[[bytes], None] | None = None
    ) -> Ended:
        """Run a command of the owner's, with its output in the log, or `write`, and with the internet.

        Raises BuildFailed when a limit stopped it.
        """
        try:
            return self.runner.run(command, write or self.log.write, folder=folder, env=env, reach=self.internet)
        finally:
            self.log.finish_output()

    @contextmanager
    def timed(self, done: str) -> Iterator[None]:
        """Say `done` with the time that the block took, such as `Cloning completed: 320ms`."""
        started = time.monotonic()
        yield
        self.log.line(f"{done}{duration((time.monotonic() - started) * 1000)}")
