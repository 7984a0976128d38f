"""`python -m autostack.agent.egress.make --channel FD --ports 80,443`: make a network, hand it over, and end.

It alone has the privileges that this takes. What it answers on the channel are descriptors: of the network, for an
ordinary user of the user namespace that it belongs to, and of the sockets in it.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys

from autostack.agent.egress.namespaces import enter_own_network, enter_own_user_namespace


def main() -> None:
    """Do so; say on standard error what keeps this machine from it."""
    parser = argparse.ArgumentParser(prog="autostack.agent.egress.make")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--ports", required=True)
    given = parser.parse_args()
    ports = [int(port) for port in given.ports.split(",") if port]
    try:
        owners = [enter_own_user_namespace()] if os.geteuid() != 0 else []
        net, listeners = enter_own_network(ports)
    except OSError as error:
        sys.exit(error.strerror)
    descriptors = [net, *owners, *(each.fileno() for each in listeners.sockets)]
    with socket.socket(fileno=given.channel) as channel:
        socket.send_fds(channel, [b"network"], descriptors)


if __name__ == "__main__":
    main()
