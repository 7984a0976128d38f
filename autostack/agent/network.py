"""The agent's side of `autostack.agent.egress`: opens a network for each script that may reach other machines."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from autostack.agent.egress.namespaces import PROXY_PORT
from autostack.agent.egress.policy import Policy
from autostack.agent.errors import CannotIsolate, InfrastructureError
from autostack.agent.order import WEB_PORTS

# Refusals are read before it, and their lines wait for room in the log, as long as web may be away.
ANSWER_TIMEOUT_S = 360
END_TIMEOUT_S = 5
MAKE_TIMEOUT_S = 60
MAX_DESCRIPTORS = 253
KEPT_VARIABLES = ("PATH", "LANG", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONPATH")
MAX_WARNINGS = 50
PROXY = f"http://127.0.0.1:{PROXY_PORT}"
# What must not go by the proxy, as it is in the sandbox itself.
INSIDE = "localhost,.localhost,127.0.0.1,::1,0.0.0.0,build"
PROXY_VARIABLES = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), INSIDE),
}


@dataclass(frozen=True)
class Reach:
    """What a script may reach: the public internet at `ports` or not, what is `allowed` beside it (hosts, with or

    without port, and networks), less what is `refused` (hosts with ports), and the addresses that a name stands for,
    where that was looked up before.
    """

    public: bool
    allowed: tuple[str, ...] = ()
    ports: tuple[int, ...] = WEB_PORTS
    refused: tuple[str, ...] = ()
    pins: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """What programs that know of proxies are told."""
        return PROXY_VARIABLES if self.public else {}


@dataclass(frozen=True)
class Entrance:
    """Descriptors by which a process enters a network that was made for it: an ordinary user's by its owner first."""

    net: int
    user: int | None = None

    @property
    def descriptors(self) -> list[int]:
        return [self.net, *([self.user] if self.user is not None else [])]


class Egress:
    """The process beside the agent, started when it is first needed. `say` is told what builds may not.

    `uid` is who it becomes, where we are root.
    """

    def __init__(self, say: Callable[[str], None], ca_bundle: Path | None = None, uid: int | None = None) -> None:
        self._say = say
        self._ca_bundle = ca_bundle
        self._uid = uid if os.geteuid() == 0 else None
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._answers: Queue[dict[str, Any]] = Queue()
        self._opened = 0
        self._told: set[str] = set()

    @contextmanager
    def network(self, reach: Reach) -> Iterator[Entrance]:
        """Open a network for what is run in it.

        Raises CannotIsolate if this machine makes none, InfrastructureError if the process has ended.
        """
        order = asdict(reach)
        entrance, sockets = _make_network(Policy.parse(order).listened)
        try:
            self._hand_over(sockets)
            self._opened += 1
            number = self._opened
            self._ask({"open": number, **order})
            try:
                yield entrance
            except BaseException:
                # What went wrong first is what is told of, whether the process is there to be asked or not.
                with suppress(InfrastructureError):
                    self._ask({"close": number})
                raise
            self._ask({"close": number})
        finally:
            for descriptor in entrance.descriptors:
                os.close(descriptor)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or self._reader is None or self._channel is None:
            return
        self._channel.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join()

    def _hand_over(self, sockets: Sequence[int]) -> None:
        """Give the process what listens in a network, before it is told of it."""
        try:
            channel = self._channel or self._start()
            # One that has ended is told of by whoever asks it.
            with suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(channel, [b"network"], sockets)
        finally:
            for descriptor in sockets:
                os.close(descriptor)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [sys.executable, "-m", "autostack.agent.egress", "--channel", str(theirs.fileno())]
        argv += ["--uid", str(self._uid)] if self._uid is not None else []
        argv += ["--ca-bundle", str(self._ca_bundle)] if self._ca_bundle else []
        with theirs:
            try:
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(), pass_fds=[theirs.fileno()]
                )
            except OSError as error:
                ours.close()
                raise InfrastructureError(f"the way out of the sandbox did not start: {error.strerror}") from None
        self._channel = ours
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="egress", daemon=True)
        self._reader.start()
        return ours

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        # A process that has ended may have said why: it is read below.
        with suppress(BrokenPipeError):
            if self._process and self._process.stdin:
                self._process.stdin.write(f"{json.dumps(order)}\n".encode())
                self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=ANSWER_TIMEOUT_S)
        except Empty:
            answer = {}
        if not answer:
            # Nothing else will ever come: whoever asks next need not wait to learn it.
            self._answers.put({})
            raise InfrastructureError("the process through which the sandbox reaches others has ended")
        return answer

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            answer = json.loads(line)
            if "refused" in answer:
                self._warn(answer["refused"])
            else:
                self._answers.put(answer)
        self._answers.put({})

    def _warn(self, what: str) -> None:
        if what in self._told or len(self._told) > MAX_WARNINGS:
            return
        self._told.add(what)
        more = len(self._told) > MAX_WARNINGS
        self._say("The build tried to reach more, which is not listed" if more else f"The build tried to reach {what}")


def _make_network(ports: Iterable[int]) -> tuple[Entrance, list[int]]:
    """Have a network made; return the way into it, and what listens in it. Raises CannotIsolate."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, "-m", "autostack.agent.egress.make", "--channel", str(theirs.fileno())]
    argv += ["--ports", ",".join(map(str, sorted(ports)))]
    with ours, theirs:
        try:
            made = subprocess.run(
                argv,
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=MAKE_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InfrastructureError(f"no network was made for the sandbox: {error}") from None
        if made.returncode != 0:
            said = made.stderr.decode("utf-8", "replace").strip() or "it failed without a word"
            raise CannotIsolate(f"no network for them: {said.splitlines()[-1]}")
        _, descriptors, _, _ = socket.recv_fds(ours, 100, MAX_DESCRIPTORS)
    net, *rest = descriptors
    return (Entrance(net), rest) if os.geteuid() == 0 else (Entrance(net, rest[0]), rest[1:])


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
