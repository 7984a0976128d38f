"""`python -m autostack.agent.egress`: serves networks of sandboxes, as lines of JSON on stdin ask for.

Their sockets come over a channel beside it, for this process has no privilege. It ends with its standard input, so with
the agent. What it answers, and what builds may not, it says on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import encodings.idna  # noqa: F401 - once we are somebody else, we may no longer be able to read our own files
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import dns.rdata

from autostack.agent.egress.names import Names
from autostack.agent.egress.namespaces import Listeners
from autostack.agent.egress.packets import Packets
from autostack.agent.egress.policy import Gate, Policy, system_resolve
from autostack.agent.egress.privileges import give_up_privileges, set_limits
from autostack.agent.egress.relay import Direct, Proxied, Relay

MAX_LINE_BYTES = 1_000_000
MAX_DESCRIPTORS = 253


class Network:
    """One network with all that serves it."""

    def __init__(self, number: int, listeners: Listeners, policy: Policy, trust: ssl.SSLContext) -> None:
        self._number = number
        self._listeners = listeners
        gate = Gate(policy, system_resolve)
        self._names = Names(gate, self._refuse)
        self._relay = Relay(gate, self._refuse, self._names.name_of, trust)
        self._packets = Packets(listeners.packets, policy, self._names.name_of, self._refuse)
        self._servers: list[asyncio.Server] = []
        self._told: set[str] = set()

    async def start(self) -> None:
        """Serve what listens in it."""
        loop = asyncio.get_running_loop()
        for web in self._listeners.web:
            self._servers.append(await loop.create_server(lambda: Direct(self._relay), sock=web))
        self._servers.append(await loop.create_server(lambda: Proxied(self._relay), sock=self._listeners.proxy))
        await loop.create_datagram_endpoint(lambda: self._names, sock=self._listeners.names)
        loop.add_reader(self._listeners.packets, self._packets.read)

    def close(self) -> None:
        """End what is still connected. No process is left in the namespace."""
        asyncio.get_running_loop().remove_reader(self._listeners.packets)
        self._packets.read()
        for server in self._servers:
            server.close()
        self._names.close()
        self._relay.close()
        self._listeners.close()

    def _refuse(self, what: str) -> None:
        if what not in self._told and len(self._told) < 1_000:
            self._told.add(what)
            say({"network": self._number, "refused": what})


class Desk:
    """Does what the agent asks for."""

    def __init__(self, channel: socket.socket, trust: ssl.SSLContext) -> None:
        self._channel = channel
        self._trust = trust
        self._networks: dict[int, Network] = {}

    async def serve(self) -> None:
        """Answer until standard input ends."""
        reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            order = json.loads(line)
            if "close" in order:
                self._networks.pop(order["close"]).close()
                say({"network": order["close"], "closed": True})
            else:
                await self._open(order["open"], order)

    async def _open(self, number: int, order: dict[str, Any]) -> None:
        # The agent has sent them before it wrote the line.
        _, descriptors, _, _ = socket.recv_fds(self._channel, 100, MAX_DESCRIPTORS)
        network = Network(number, Listeners.of(descriptors), Policy.parse(order), self._trust)
        self._networks[number] = network
        await network.start()
        say({"network": number, "opened": True})


def say(answer: dict[str, Any]) -> None:
    """Say something to the agent."""
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Serve the agent that started this process."""
    parser = argparse.ArgumentParser(prog="autostack.agent.egress")
    parser.add_argument("--channel", type=int, required=True, help="where the sockets of networks come from")
    parser.add_argument("--uid", type=int, help="who to become; default: nobody else")
    parser.add_argument("--ca-bundle", type=Path, help="certificates to trust; default: the system's")
    given = parser.parse_args()
    trust = ssl.create_default_context(cafile=given.ca_bundle)
    dns.rdata.load_all_types()  # type: ignore[no-untyped-call]
    set_limits()
    give_up_privileges(given.uid)
    asyncio.run(Desk(socket.socket(fileno=given.channel), trust).serve())


if __name__ == "__main__":
    main()
