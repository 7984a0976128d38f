"""Several processes on one port: the kernel deals connections out among their sockets, and a dead one is replaced.

One that stands still is no better than a dead one, and worse for those who are dealt to it: it is killed.

The parent opens all sockets and keeps them: those who come while a worker is being replaced wait, and are not refused.
It answers nobody, loads nothing but this, and so hardly has a reason to die; if it does, its workers finish and end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess

import structlog

log = structlog.get_logger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A worker that lives shorter than this is replaced only after it: it would die again at once.
SHORT_LIFE_S = 2.0
# What a visitor may send ahead without our reading it, which the kernel doubles: a request is shorter mostly.
RECEIVE_BUFFER_BYTES = 32 * 1024
# On top of the time that a worker takes to drain.
END_TIMEOUT_S = 5.0
# How often workers' pulses are looked at, at the least.
LOOK_INTERVAL_S = 1.0

# What a worker does: serve on these sockets until a signal comes, or until this file can be read from.
Work = Callable[[list[socket.socket], int], None]
# Gives for a worker what another value follows as long as it is well.
Pulse = Callable[[int], float]


def bind(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """Return for each of `count` workers its sockets: one for each address of `host`.

    All have one port, which the system chooses for 0. Raises OSError when it is taken, by another proxy, too.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[list[socket.socket]] = [[] for _ in range(count)]
    try:
        for family, _, _, _, address in dict.fromkeys(addresses):
            # Before any of them shares it, somebody else's would be found.
            with _bound(family, (address[0], port, *address[2:]), shared=False) as probe:
                port = probe.getsockname()[1]
            for sockets in bound:
                sockets.append(_bound(family, (address[0], port, *address[2:]), shared=count > 1))
    except OSError:
        _close(bound)
        raise
    return bound


def _bound(family: int, address: tuple[object, ...], shared: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.setblocking(False)
        # Whoever is accepted gets the same.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def _close(sockets: list[list[socket.socket]]) -> None:
    for opened in (one for several in sockets for one in several):
        opened.close()


class Watch:
    """Notices who stands still: whose pulse has not changed for too long."""

    def __init__(self, pulse: Pulse, timeout_s: float) -> None:
        self.interval_s = min(LOOK_INTERVAL_S, timeout_s / 4)
        self._pulse = pulse
        self._timeout_s = timeout_s
        self._looked_at = 0.0
        # The pulse that was seen last, and for how long.
        self._seen: dict[int, tuple[float, float]] = {}

    def begin(self, worker: int) -> None:
        """Give a worker that was just started its time."""
        self._seen[worker] = (self._pulse(worker), 0.0)

    def standing_still(self, workers: Iterable[int], now: float) -> list[int]:
        """Look at these workers, at a time on the monotonic clock; return those that have stood still for too long."""
        # While we stood still, too, as on a machine that was suspended, they could do nothing.
        passed_s = min(now - self._looked_at, 2 * self.interval_s)
        self._looked_at = now
        return [worker for worker in workers if self._silence_s(worker, passed_s) > self._timeout_s]

    def _silence_s(self, worker: int, passed_s: float) -> float:
        pulse, (seen, silence_s) = self._pulse(worker), self._seen[worker]
        silence_s = silence_s + passed_s if pulse == seen else 0.0
        self._seen[worker] = (pulse, silence_s)
        return silence_s


class Workers:
    """Runs one worker for each list of sockets."""

    def __init__(self, sockets: list[list[socket.socket]], work: Work, watch: Watch, drain_timeout_s: float) -> None:
        self._sockets = sockets
        self._work = work
        self._watch = watch
        self._end_timeout_s = drain_timeout_s + END_TIMEOUT_S
        self._running: dict[int, ForkProcess] = {}
        self._begun: dict[int, float] = {}
        self._was_refused = False

    def run(self) -> None:
        """Keep them running until SIGTERM or SIGINT, then let them end."""
        with _woken_by_signals() as woken:
            # Readable in a worker once nobody can write any more: when this process is gone.
            self._lifeline, held = os.pipe()
            for number in range(len(self._sockets)):
                self._start(number, held)
            while not wait([woken], timeout=0):
                self._kill_who_stands_still()
                self._replace_the_dead(held)
                wait([woken, *(worker.sentinel for worker in self._running.values())], self._pause_s())
            self._end()

    def _start(self, number: int, held: int) -> None:
        worker = multiprocessing.get_context("fork").Process(target=self._become_worker, args=(number, held))
        self._begun[number] = time.monotonic()
        self._watch.begin(number)
        # A signal between fork and the worker's own handlers must end it, and not be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            if self._was_refused:
                _try_to_fork()
            worker.start()
        except OSError as error:
            # No process or memory is left, and the other workers answer still: it is tried again like a short life.
            log.error("worker not started", worker=number, error=error.strerror)
            self._was_refused = True
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        self._was_refused = False
        self._running[number] = worker

    def _become_worker(self, number: int, held: int) -> None:
        signal.set_wakeup_fd(-1)
        for stop in STOP_SIGNALS:
            signal.signal(stop, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        os.close(held)
        _close(self._sockets[:number] + self._sockets[number + 1 :])
        self._work(self._sockets[number], self._lifeline)

    def _kill_who_stands_still(self) -> None:
        for number in self._watch.standing_still(self._running, time.monotonic()):
            log.error("worker stands still, and is killed", worker=number, pid=self._running[number].pid)
            self._running[number].kill()
            # It is dead soon, but not at once: it is not to be killed again meanwhile.
            self._watch.begin(number)

    def _replace_the_dead(self, held: int) -> None:
        for number, worker in list(self._running.items()):
            if worker.exitcode is not None:
                log.error("worker died", worker=number, exit_code=worker.exitcode)
                del self._running[number]
        for number in range(len(self._sockets)):
            if number not in self._running and time.monotonic() >= self._begun[number] + SHORT_LIFE_S:
                self._start(number, held)

    def _pause_s(self) -> float:
        """Return the time until the next start is due, or the next look at who runs."""
        missing = [self._begun[number] for number in range(len(self._sockets)) if number not in self._running]
        starts = [max(0.0, begun + SHORT_LIFE_S - time.monotonic()) for begun in missing]
        return min([self._watch.interval_s, *starts])

    def _end(self) -> None:
        # First ours: a worker that has closed its own must leave nobody waiting in it.
        _close(self._sockets)
        for worker in self._running.values():
            worker.terminate()
        deadline = time.monotonic() + self._end_timeout_s
        for worker in self._running.values():
            worker.join(max(0.0, deadline - time.monotonic()))
            worker.kill()
            worker.join()


def _try_to_fork() -> None:
    """Raise OSError if there is no process to be had: multiprocessing would leave its pipes open each time."""
    process = os.fork()
    if not process:
        os._exit(0)
    os.waitpid(process, 0)


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[int]:
    """Yield a file that can be read from once a signal to stop has come."""
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    for stop in STOP_SIGNALS:
        signal.signal(stop, lambda *_: None)
    yield woken
